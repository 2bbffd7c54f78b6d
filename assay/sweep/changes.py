"""What differs between the rows of a sweep, in the fewest words that tell them apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from assay.config import OptimizerConfig, RunConfig
from assay.sweep.spec import Sweep


def shown_changes(sweep: Sweep) -> tuple[dict[str, str], list[dict[str, str]]]:
    """Return what differs between the rows and the config that they start from, as text.

    Returns:
        The config's own value of each field that any row changes, in order, and for each row those that it changes.
        Fields are named as briefly as can be.
    """
    base = _leaves(sweep, sweep.base)
    rows = [_leaves(sweep, row.config) for row in sweep.rows]
    order = list(dict.fromkeys(key for leaves in (base, *rows) for key in leaves))
    changed = [key for key in order if any(leaves.get(key) != base.get(key) for leaves in rows)]
    names = _brief(changed)
    own = {names[key]: _text(base[key]) if key in base else "" for key in changed}
    cells = [
        {names[key]: _text(leaves[key]) for key in changed if key in leaves and leaves[key] != base.get(key)}
        for leaves in rows
    ]
    return own, cells


def _leaves(sweep: Sweep, config: RunConfig) -> dict[str, Any]:
    from assay.models.catalog import check_options

    section = sweep.section(config)
    leaves = _flat(section.model_dump(mode="json"), "")
    defaults = check_options(section.model.name, section.model.options).model_dump(mode="json")
    named = {
        key for row in (sweep.base, *(row.config for row in sweep.rows)) for key in sweep.section(row).model.options
    }
    # Options that any row names are shown for all models that have them, default or not.
    leaves |= {f"model.options.{key}": value for key, value in defaults.items() if key in named}
    policy = config.augment.policy.model_dump(mode="json", exclude_defaults=True)
    return leaves | {"augmentation": ", ".join(_words(policy)) or "none"}


def _words(policy: Mapping[str, Any]) -> Iterator[str]:
    for key, value in policy.items():
        yield key if value is True else f"{key} {_text(value)}"


def _flat(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, value in values.items():
        if key == "optimizer":
            leaves |= _of_optimizer(value, prefix)
        elif isinstance(value, Mapping):
            leaves |= _flat(value, f"{prefix}{key}.")
        else:
            leaves[prefix + key] = value
    return leaves


def _of_optimizer(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Return the rate for itself and all else in one cell: few rows differ in one of a dozen settings alone."""
    settings = OptimizerConfig.model_validate(values).model_dump(mode="json", exclude_defaults=True)
    words = [values["name"]]
    for key, value in settings.items():
        if key == "schedule":
            words.append(value)
        elif key not in ("name", "learning_rate"):
            words.extend(_words({key: value}))
    return {f"{prefix}optimizer": ", ".join(words), f"{prefix}learning_rate": values["learning_rate"]}


def _brief(keys: Sequence[str]) -> dict[str, str]:
    """Return for each key as much of its end as tells it from the others; `model.name` is the model."""
    names: dict[str, str] = {}
    for key in keys:
        parts = key.split(".")
        taken = 2 if parts[-1] == "name" and len(parts) > 1 else 1
        while any(other != key and other.split(".")[-taken:] == parts[-taken:] for other in keys) and taken < len(
            parts
        ):
            taken += 1
        names[key] = ".".join(parts[-taken:]).removesuffix(".name")
    return names


def _text(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return " x ".join(_text(part) for part in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(part)}" for key, part in value.items())
    return str(value)
