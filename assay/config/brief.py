"""A section in one short line: only what differs from the defaults, as YAML, such as ``epochs: 3, model.name: cnn6``.

So sections travel to the steps of a pipeline, whose parameters people set side by side.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from assay.config.keys import model_of
from assay.config.read import SectionType, parse_section
from assay.config.schema import Section
from assay.errors import InputError


class _OneLine(yaml.SafeDumper):
    """Writes texts with line breaks in them with escapes, so that all stands in one line."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        """Return the node of a text."""
        escaped = data.splitlines() not in ([], [data])
        return self.represent_scalar("tag:yaml.org,2002:str", data, style='"' if escaped else None)


_OneLine.add_representer(str, _OneLine.represent_str)


def write_brief(section: Section) -> str:
    """Return what a section has that its defaults have not; empty: nothing.

    Raises:
        InputError: Texts in it hold characters that YAML cannot carry.
    """
    defaults = type(section)().model_dump(mode="json")
    changed = dict(_changes(type(section), section.model_dump(mode="json"), defaults))
    if not changed:
        return ""
    try:
        text = yaml.dump(
            changed, Dumper=_OneLine, default_flow_style=True, sort_keys=False, allow_unicode=True, width=math.inf
        ).strip()
    except yaml.YAMLError as error:
        raise InputError(f"{type(section).__name__}: cannot be written down ({error}). Use plain text.") from error
    return text.removeprefix("{").removesuffix("}")


def read_brief(section: type[SectionType], text: str, origin: str) -> SectionType:
    """Return the section that `write_brief` wrote down.

    Args:
        section: Its class; the defaults are those of this code.
        text: What differs from them.
        origin: What to call it in an error.

    Raises:
        InputError: The text is no such line, or a value is not right.
    """
    try:
        changed = yaml.safe_load(f"{{{text}}}")
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{origin}: not of the form `key: value, key.inner: value` ({reason}).") from error
    values = section().model_dump(mode="json")
    for name, value in changed.items():
        *parents, last = str(name).split(".")
        here = values
        for parent in parents:
            inner = here.get(parent)
            if not isinstance(inner, dict):
                raise InputError(f"{origin}: unknown key '{name}'. Received: {text[:200]}")
            here = inner
        here[last] = value
    return parse_section(section, values, origin)


def _changes(
    section: type[Any], values: Mapping[str, Any], defaults: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and value of each field that differs, a field of sections by its own fields."""
    for name, value in values.items():
        default, inner = defaults[name], model_of(section.model_fields[name].annotation)
        if value == default and type(value) is type(default):
            continue
        if inner is not None and isinstance(value, dict) and isinstance(default, dict):
            yield from _changes(inner, value, default, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
