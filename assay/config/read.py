"""From YAML and overrides to a validated config, with one line for whatever is wrong in them."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from assay.config.keys import all_keys, annotation_at, keys_at
from assay.config.schema import RunConfig, Section
from assay.config.text import parse_yaml, read_yaml
from assay.errors import InputError, did_you_mean, shortened

# Keys whose value is the name of one class: no name is anything else, whatever YAML makes of it.
CLASS_NAMES = ("data.positive_class",)
LONGEST_RECEIVED = 120


def load_config(path: Path, overrides: Iterable[str] = ()) -> RunConfig:
    """Read a YAML config and apply overrides.

    Args:
        path: The YAML file.
        overrides: Assignments such as ``"finetune.epochs=3"``; see `apply_overrides`.

    Returns:
        The resolved config.

    Raises:
        InputError: The file is missing or no mapping, a key is unknown, or a value is out of range.
    """
    values = read_yaml(path, RunConfig, "config", "`ls pipelines/configs` lists the ones shipped.")
    return parse_config(apply_overrides(values, overrides), origin=str(path))


def apply_overrides(values: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Set ``KEY=VALUE`` assignments in a config's mapping, in place, and return it.

    The value is read as YAML. The name of a class is taken as the text that it is, be it `1`, `no` or `null`; an empty
    one stands for the default.

    Raises:
        InputError: An override is no assignment, or goes through a value that is no section.
    """
    for override in overrides:
        _set(values, override)
    return values


def parse_config(values: Mapping[str, Any], origin: str = "config") -> RunConfig:
    """Validate a mapping as a RunConfig.

    Args:
        values: The config's keys and values.
        origin: What to call it in an error.

    Raises:
        InputError: One line that names every wrong key with the value received.
    """
    return parse_section(RunConfig, values, origin)


SectionType = typing.TypeVar("SectionType", bound=Section)


def parse_section(section: type[SectionType], values: Mapping[str, Any], origin: str) -> SectionType:
    """Validate a mapping as one section of the config; see `parse_config`."""
    try:
        return section.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(_explain(section, problem) for problem in error.errors())
        raise InputError(f"{origin}: {problems}") from error


def _explain(section: type[BaseModel], problem: Any) -> str:
    location = [part for part in problem["loc"] if not (isinstance(part, str) and part.startswith("function-"))]
    name = ".".join(shortened(part, LONGEST_RECEIVED) for part in location)
    kind = problem["type"]
    if kind == "extra_forbidden":
        known = keys_at(section, location[:-1])
        hint = did_you_mean(str(location[-1]), known, count=1)
        if not hint:
            namesakes = [key for key in all_keys(section) if key.rsplit(".", 1)[-1] == location[-1]]
            near = difflib.get_close_matches(name, namesakes, n=1, cutoff=0.0) or difflib.get_close_matches(
                name, list(all_keys(section)), n=1, cutoff=0.5
            )
            hint = f" Did you mean '{near[0]}'?" if near else f" Known here: {', '.join(known) or 'nothing'}."
        return f"unknown key '{name}'.{hint}"
    if kind == "missing":
        value = " Add `version: 1`." if name == "version" else ""
        return f"'{name}' is missing.{value}"
    received = shortened(repr(problem.get("input")), LONGEST_RECEIVED)
    if kind == "value_error":
        message = str(problem["ctx"]["error"])
        return f"{name}: {message}" if name else message
    message = str(problem["msg"])
    return f"{name}: {message[0].lower() + message[1:]}. Received: {received}"


def _set(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    key = key.strip()
    if not separator or not key:
        raise InputError(f"--set {shortened(override)}: an override is KEY=VALUE, such as finetune.epochs=3.")
    if key in CLASS_NAMES and text.strip()[:1] not in ("", "'", '"'):
        value: Any = text.strip()
    else:
        value = parse_yaml(text, annotation_at(RunConfig, key), f"--set {shortened(override)}")
    set_key(values, key, value, f"--set {shortened(override)}")


def set_key(values: dict[str, Any], key: str, value: Any, where: str) -> None:
    """Set a dotted key in a config's mapping, in place; a mapping as the value replaces a whole section.

    Args:
        values: The config's keys and values.
        key: Such as ``finetune.epochs``; sections on the way to it that are not there are made.
        value: What it is set to.
        where: What to call the place that asks for it in an error.

    Raises:
        InputError: The key goes through a value that is no section.
    """
    here = values
    *parents, last = key.split(".")
    for parent in parents:
        inner = here.get(parent)
        if inner is None:
            inner = here[parent] = {}
        if not isinstance(inner, dict):
            raise InputError(f"{where}: '{key}' goes through '{parent}', which holds a value, not a section.")
        here = inner
    here[last] = value
