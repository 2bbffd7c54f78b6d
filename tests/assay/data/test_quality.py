"""quality.html: self-contained, escaped, with pictures of what is used, set aside and the same."""

from __future__ import annotations

import html.parser
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from assay.config import DataConfig
from assay.data.quality import write_quality
from assay.data.summary import summarise
from assay.data.survey import survey


def page(root: Path, tmp_path: Path, **options: object) -> str:
    found = survey(str(root), DataConfig(**options))
    write_quality(tmp_path / "quality.html", found, summarise(found), "f" * 64)
    return (tmp_path / "quality.html").read_text(encoding="utf-8")


class Tags(html.parser.HTMLParser):
    """Collects what the page would load from elsewhere, and how often each tag opens."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.count: dict[str, int] = {}
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        self.links += [value or "" for name, value in attributes if name in ("src", "href")]


def test_the_page_is_self_contained_and_shows_every_class(class_folders: Path, tmp_path: Path) -> None:
    text = page(class_folders, tmp_path)
    tags = Tags(text)
    assert tags.links
    assert all(link.startswith("data:image/") for link in tags.links)
    assert "http" not in re.sub(r"data:image/[^\"]*", "", text)
    assert tags.count["img"] == 20
    assert "script" not in tags.count
    assert "Nothing stands out." in text
    assert "Every file could be used." in text
    assert "No images occur twice." in text


def test_what_was_set_aside_and_what_is_the_same_has_pictures(class_folders: Path, tmp_path: Path) -> None:
    shutil.copy(class_folders / "benign" / "00.png", class_folders / "malignant" / "contradiction.png")
    shutil.copy(class_folders / "benign" / "01.png", class_folders / "benign" / "copy.png")
    Image.open(class_folders / "benign" / "02.png").save(class_folders / "malignant" / "again.jpg", quality=90)
    (class_folders / "benign" / "empty.png").write_bytes(b"")
    text = page(class_folders, tmp_path)
    assert text.count("contradictory labels: the same image") >= 2
    assert "no picture" in text
    assert "byte for byte" in text
    assert "near duplicates, different labels" in text


def test_names_are_escaped(tmp_path: Path, draw) -> None:
    root = tmp_path / "source"
    for number in range(3):
        draw(root / "<b>bold" / f"a&b '\"{number}.png", number)
        draw(root / "plain" / f"{number}.png", 10 + number)
    text = page(root, tmp_path)
    assert "<b>bold" not in text
    assert "&lt;b&gt;bold" in text


@pytest.mark.parametrize("classes", [2, 30])
def test_many_classes_stay_readable(tmp_path: Path, draw, classes: int) -> None:
    for label in range(classes):
        for number in range(3):
            draw(tmp_path / "source" / f"class {label:02d}" / f"{number}.png", 3 * label + number, 16)
    text = page(tmp_path / "source", tmp_path)
    assert Tags(text).count["img"] <= 12 * 12
    assert f"class {classes - 1:02d}" in text
