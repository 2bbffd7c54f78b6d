"""The keys of a section by name, walked through nested sections."""

from __future__ import annotations

import typing
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel


@dataclass(frozen=True)
class KeysOf:
    """Beside the type of a mapping: its keys are those of a section, dotted."""

    section: type[BaseModel]


def model_of(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in typing.get_args(annotation):
        found = model_of(argument)
        if found is not None:
            return found
    return None


def keys_at(section: type[BaseModel], location: list[Any]) -> list[str]:
    model: type[BaseModel] | None = section
    for part in location:
        if isinstance(part, int):  # a place in a list, whose entries are of the model named before
            continue
        if model is None or part not in model.model_fields:
            return []
        model = model_of(model.model_fields[part].annotation)
    return list(model.model_fields) if model is not None else []


def all_keys(section: type[BaseModel], prefix: str = "") -> Iterable[str]:
    for name, field in section.model_fields.items():
        yield prefix + name
        inner = model_of(field.annotation)
        if inner is not None:
            yield from all_keys(inner, f"{prefix}{name}.")


def annotation_at(annotation: Any, key: str) -> Any:
    """Return the type of what stands under a key, dotted or not; Any where that is not known."""
    for part in key.split("."):
        section = model_of(annotation)
        if section is None:
            return Any
        if part not in section.model_fields:
            return Any
        field = section.model_fields[part]
        annotation = next((mark.section for mark in field.metadata if isinstance(mark, KeysOf)), field.annotation)
    return annotation
