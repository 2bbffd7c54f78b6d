"""Pages in the report's look: each is one file that needs no network and no other file."""

from __future__ import annotations

from pathlib import Path

import jinja2
from markupsafe import Markup

from assay.pages.numbers import percent, score, signed

TEMPLATES = Path(__file__).parent / "templates"


def page_template(name: str, folder: Path = TEMPLATES) -> jinja2.Template:
    """Return the template of a page; it may include ``report.css.j2`` and import from ``chart.html.j2``.

    Args:
        name: The template's file.
        folder: Where it lies.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, TEMPLATES]),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "score": score,
        "signed": signed,
        "percent": percent,
        "safe_svg": Markup,
        "count": lambda value: f"{value:,}",
    }
    return environment.get_template(name)
