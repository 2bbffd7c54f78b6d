"""The one template environment: every page and every Markdown file is made here, each whole in itself."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import jinja2
from markupsafe import Markup

from assay.hashing import code_version
from assay.pages.markdown import cell
from assay.pages.numbers import percent, score, signed

SHARED = Path(__file__).parent / "templates"


def page_template(name: str, folder: Path) -> jinja2.Template:
    """Return a template; a page extends ``page.html.j2`` and may import from ``chart.html.j2``.

    Args:
        name: The template's file: of ``.html.j2`` values are escaped, of ``.md.j2`` they are not.
        folder: Where it lies.
    """
    return _environment(folder).get_template(name)


@cache
def _environment(folder: Path) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, SHARED]),
        undefined=jinja2.StrictUndefined,
        autoescape=jinja2.select_autoescape(("html.j2",)),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "score": score,
        "signed": signed,
        "percent": percent,
        "cell": cell,
        "count": lambda value: f"{value:,}",
        # For what the kit itself has drawn and escaped: charts, pictures.
        "drawn": Markup,
    }
    environment.globals["code_version"] = code_version
    return environment
