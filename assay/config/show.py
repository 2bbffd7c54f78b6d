"""A config as people read it: resolved YAML, each key explained, the template with every default."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from assay.config.keys import all_keys, model_of
from assay.config.schema import SCHEMA_VERSION, RunConfig, Section
from assay.errors import InputError, did_you_mean


def known_keys() -> list[str]:
    """Return every key of a RunConfig, dotted, in order."""
    return list(all_keys(RunConfig))


def explain_keys(prefix: str = "") -> list[tuple[str, str, str]]:
    """Return (key, default, description with its range) of every key under a prefix, such as ``finetune``.

    Raises:
        InputError: There is no such key.
    """
    defaults = RunConfig(version=SCHEMA_VERSION).model_dump(mode="json")
    rows = [row for row in _explained(RunConfig, "", defaults) if not prefix or f"{row[0]}.".startswith(f"{prefix}.")]
    if not rows:
        raise InputError(f"unknown key '{prefix}'.{did_you_mean(prefix, known_keys(), count=1)}")
    return rows


def _explained(section: type[BaseModel], prefix: str, defaults: Any) -> Iterable[tuple[str, str, str]]:
    for name, field in section.model_fields.items():
        default = defaults.get(name) if isinstance(defaults, dict) else None
        inner = model_of(field.annotation)
        if inner is not None:
            yield from _explained(inner, f"{prefix}{name}.", default)
            continue
        yield prefix + name, json.dumps(default), (field.description or "") + _range_of(field)


def _range_of(field: FieldInfo) -> str:
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    limits = [
        f"{sign} {getattr(limit, name)}"
        for limit in field.metadata
        for name, sign in signs.items()
        if hasattr(limit, name)
    ]
    return f" [{', '.join(limits)}]" if limits else ""


def dump_config(config: Section) -> str:
    """Return the resolved config as YAML, in the order of the schema."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def config_template() -> str:
    """Return a config with every key at its default and what it means beside it, as YAML."""
    return "\n".join([*TEMPLATE_HEADER, *_template_lines(RunConfig, RunConfig(version=SCHEMA_VERSION), 0)]) + "\n"


TEMPLATE_HEADER = (
    "# What for:  a start for your own images: keep the lines that you change, delete the rest.",
    "# Command:   make run CONFIG=my.yaml DATA=path/to/images",
    "# Expect:    what you know of your data; the report says how sure the figures are.",
    "# Cost:      grows with images, their size and the epochs; the report says what each step took.",
)
TEMPLATE_WIDTH = 120


def _template_lines(section: type[BaseModel], defaults: BaseModel, depth: int) -> Iterable[str]:
    indent = "  " * depth
    values = defaults.model_dump(mode="json")
    for name, field in section.model_fields.items():
        inner, default = model_of(field.annotation), getattr(defaults, name)
        comment = "# " + (field.description or "") + _range_of(field)
        if inner is not None and default is not None:
            yield f"{indent}{name}:" + (f"  {comment}" if field.description else "")
            yield from _template_lines(inner, default, depth + 1)
            continue
        if inner is not None:
            comment += f"; or {json.dumps(inner().model_dump(mode='json'))}"
        line = f"{indent}{name}: {json.dumps(values[name])}"
        if len(line) + 2 + len(comment) <= TEMPLATE_WIDTH:
            yield f"{line}  {comment}"
        else:
            yield f"{indent}{comment}"
            yield line
