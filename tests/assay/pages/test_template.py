"""One environment: pages escape what they are given, Markdown does not, and an unknown name is an error."""

from __future__ import annotations

from pathlib import Path

import jinja2
import pytest

from assay.pages.markdown import cell
from assay.pages.template import SHARED, page_template

ROOT = Path(__file__).parents[3]


def test_a_page_is_whole_and_escapes_its_values(tmp_path: Path) -> None:
    (tmp_path / "own.html.j2").write_text(
        '{% extends "page.html.j2" %}{% block title %}{{ name }}{% endblock %}'
        "{% block content %}{{ name }}{% endblock %}"
    )
    page = page_template("own.html.j2", tmp_path).render(name="<script>")
    assert page.startswith("<!doctype html>") and page.rstrip().endswith("</html>")
    assert "<script>" not in page and page.count("&lt;script&gt;") == 2
    assert '"Segoe UI"' in page, "the style sheet is taken as it is"
    assert "The page needs no network." in page


def test_markdown_is_not_escaped_for_html_but_cells_are_for_tables(tmp_path: Path) -> None:
    (tmp_path / "own.md.j2").write_text("{{ name }}: {{ name|cell }}\n")
    assert page_template("own.md.j2", tmp_path).render(name="a & b|c") == "a & b|c: a & b\\|c\n"


def test_a_name_that_is_not_given_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "own.md.j2").write_text("{{ nothing }}")
    with pytest.raises(jinja2.UndefinedError, match="nothing"):
        page_template("own.md.j2", tmp_path).render()


def test_text_in_a_cell_cannot_end_it_or_become_markup() -> None:
    assert cell("a|b\n*c* <i>") == "a\\|b \\*c\\* &lt;i&gt;"


def test_every_page_of_the_project_has_the_one_frame_and_the_one_style_sheet() -> None:
    pages = [path for folder in ("assay", "pipelines") for path in (ROOT / folder).rglob("*.html.j2")]
    own = [path for path in pages if path.parent != SHARED]
    assert len(own) >= 9
    for path in own:
        text = path.read_text(encoding="utf-8")
        assert text.startswith('{% extends "page.html.j2" %}'), path
        assert "<style" not in text, path
    made = [
        path for path in (ROOT / "assay").rglob("*.py") if "jinja2.Environment(" in path.read_text(encoding="utf-8")
    ]
    assert made == [ROOT / "assay/pages/template.py"]
    encoders = [
        path for path in (ROOT / "assay").rglob("*.py") if "data:image/jpeg" in path.read_text(encoding="utf-8")
    ]
    assert encoders == [ROOT / "assay/pages/pictures.py"]
