"""What a sweep varies: a spec in YAML, and its rows as whole configs, every field and value checked."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from assay.config import (
    Policy,
    RunConfig,
    Section,
    apply_overrides,
    known_keys,
    load_config,
    parse_config,
    parse_section,
    read_yaml,
    set_key,
)
from assay.config.keys import KeysOf
from assay.errors import InputError, did_you_mean

POLICY = "augment.policy"
# Keys of a row that say something about it and change nothing.
LABEL, REPORTED = "label", "reported"
MOST_ROWS = 1000


class SweepSpec(Section):
    """A sweep: one row a configuration, each trained from every seed and compared on the validation split."""

    version: Literal[1] = Field(..., description="version of this schema")
    name: str = Field(..., pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", description="name of the sweep")
    title: str = Field("", description="what it asks, in a few words; empty: its name")
    config: str = Field(..., description="the config that every row starts from; relative to the spec's folder")
    candidate: Literal["baseline", "finetune"] = Field("baseline", description="which trained model is varied")
    common: Annotated[dict[str, Any], KeysOf(RunConfig)] = Field(
        default_factory=dict, description="fields that all rows share, such as data.source"
    )
    seeds: tuple[int, ...] = Field((0, 1, 2), min_length=1, max_length=100, description="each row is trained from each")
    metric: Literal["val_auc", "val_accuracy", "val_loss"] = Field("val_auc", description="what marks the best row")
    rows: tuple[dict[str, Any], ...] | None = Field(
        None, description="one mapping of fields a row; {} is the config as it stands; `label` and `reported` beside"
    )
    grid: dict[str, tuple[Any, ...]] | None = Field(
        None, description="values of each field; every combination is a row"
    )
    reported_by: str = Field("", description="whose figures `reported` are, for the heading of their column")
    remarks: str = Field("", description="what is to be said below the table")

    @model_validator(mode="after")
    def _rows_and_seeds(self) -> SweepSpec:
        if (self.rows is None) == (self.grid is None):
            given = "neither" if self.rows is None else "both"
            raise ValueError(f"give either rows or grid. Received: {given}")
        if len(set(self.seeds)) != len(self.seeds) or min(self.seeds) < 0 or max(self.seeds) >= 2**31:
            raise ValueError(f"seeds must be different numbers of 0 to 2147483647. Received: {list(self.seeds)}")
        empty = [field for field, values in (self.grid or {}).items() if not values]
        if empty or self.rows == () or self.grid == {}:
            raise ValueError(f"{empty[0] if empty else 'rows or grid'}: there is nothing to run. Give values")
        count = 1
        for values in (self.grid or {}).values():
            count *= len(values)
        if max(count, len(self.rows or ())) > MOST_ROWS:
            raise ValueError(f"a sweep holds at most {MOST_ROWS} rows. Received: {max(count, len(self.rows or ()))}")
        return self


@dataclass(frozen=True)
class Row:
    """One configuration of a sweep.

    Attributes:
        number: From 1.
        label: What it is called, where the spec says so.
        config: The whole config that it trains with.
        reported: The figure that others had with it, or None.
    """

    number: int
    label: str
    config: RunConfig
    reported: float | None = None


@dataclass(frozen=True)
class Sweep:
    """A spec with what it starts from.

    Attributes:
        spec: The spec.
        base: The config that every row starts from.
        rows: The rows in order, each different from the others.
    """

    spec: SweepSpec
    base: RunConfig
    rows: tuple[Row, ...]

    def section(self, config: RunConfig) -> Any:
        """Return the section of a config that trains the candidate."""
        return getattr(config, self.spec.candidate)

    def to_json(self) -> str:
        """Return spec and base as JSON; see `from_json`."""
        return json.dumps(
            {"spec": self.spec.model_dump(mode="json"), "base": self.base.model_dump(mode="json")}, sort_keys=True
        )

    @classmethod
    def from_json(cls, text: str) -> Sweep:
        """Return the sweep of `to_json`."""
        values = json.loads(text)
        return resolve(parse_section(SweepSpec, values["spec"], "sweep"), parse_config(values["base"]), "sweep")


def load_sweep(path: Path, overrides: Sequence[str] = (), spec_changes: Mapping[str, Any] | None = None) -> Sweep:
    """Read a spec and resolve its rows.

    Args:
        path: The YAML file.
        overrides: Assignments such as ``"baseline.epochs=3"`` for the config that all rows start from; what a row
            itself sets stands above them.
        spec_changes: Keys of the spec that are replaced, such as ``seeds``.

    Raises:
        InputError: The file or its config is missing, or a field or value of any row is wrong.
    """
    read = read_yaml(path, SweepSpec, "sweep", "`ls pipelines/sweeps` lists the ones shipped.")
    values = {**read, **(spec_changes or {})}
    spec = parse_section(SweepSpec, values, str(path))
    base = load_config(path.parent / spec.config)
    base = parse_config(_changed(base.model_dump(mode="json"), spec, spec.common, f"{path}: common"), f"{path}: common")
    if overrides:
        base = parse_config(apply_overrides(base.model_dump(mode="json"), overrides), "--set")
    return resolve(spec, base, str(path))


def resolve(spec: SweepSpec, base: RunConfig, origin: str) -> Sweep:
    """Return a sweep with its rows, all of them checked.

    Args:
        spec: What varies.
        base: The config that every row starts from.
        origin: What to call the spec in an error.

    Raises:
        InputError: A field or value of any row is wrong.
    """
    return Sweep(spec, base, _rows(spec, base, origin))


def _rows(spec: SweepSpec, base: RunConfig, origin: str) -> tuple[Row, ...]:
    from assay.models.catalog import check_options

    rows: list[Row] = []
    known: dict[str, int] = {}
    for number, fields in enumerate(_fields(spec), start=1):
        where = f"{origin}: row {number}"
        changes = {key: value for key, value in fields.items() if key not in (LABEL, REPORTED)}
        for key in changes:
            _check_varies(key, spec, where, base)
        config = parse_config(_changed(base.model_dump(mode="json"), spec, changes, where), where)
        section = getattr(config, spec.candidate)
        try:
            check_options(section.model.name, section.model.options)
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
        if spec.candidate == "finetune" and section.frozen.epochs == section.epochs == 0:
            raise InputError(f"{where}: frozen.epochs and epochs are both 0. Give at least one phase an epoch.")
        if spec.candidate == "baseline" and section.epochs == 0:
            raise InputError(f"{where}: epochs is 0: there is nothing to compare. Give at least one.")
        same = section.fingerprint() + config.augment.policy.model_dump_json()
        if same in known:
            raise InputError(f"{where}: it is the same as row {known[same]}. Remove one of them.")
        known[same] = number
        rows.append(Row(number, str(fields.get(LABEL) or ""), config, _reported(fields.get(REPORTED), where)))
    return tuple(rows)


def _reported(value: Any, where: str) -> float | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise InputError(f"{where}: reported is a number. Received: {value!r}.")
    return value


def _fields(spec: SweepSpec) -> Iterator[Mapping[str, Any]]:
    if spec.rows is not None:
        yield from spec.rows
        return
    grid = spec.grid or {}
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def _full_name(key: str, spec: SweepSpec) -> str:
    """Return a field's name in the whole config; within the candidate's section the short one will do."""
    section = RunConfig.model_fields[spec.candidate].annotation
    inside: Any = section
    return f"{spec.candidate}.{key}" if key.split(".")[0] in inside.model_fields else key


def _check_varies(key: str, spec: SweepSpec, where: str, base: RunConfig) -> None:
    """Raise unless a row may set a field: one of the candidate, or of the augmentation policy."""
    name = _full_name(key, spec)
    if f"{name}.".startswith((f"{spec.candidate}.", f"{POLICY}.")) and name != spec.candidate:
        return
    first = name.split(".")[0]
    if first in RunConfig.model_fields:
        raise InputError(
            f"{where}: '{key}' cannot vary: rows share data and splits, so that they can be compared, and train "
            f"{spec.candidate} alone. Fields of {spec.candidate} and {POLICY} vary; set others under `common`."
        )
    known = _variable_keys(spec, base)
    namesakes = [known_key for known_key in known if known_key.rsplit(".", 1)[-1] == key]
    hint = f" Did you mean '{namesakes[0]}'?" if namesakes else did_you_mean(key, known)
    raise InputError(f"{where}: unknown field '{key}'.{hint or ' `assay config explain` lists all of them.'}")


def _variable_keys(spec: SweepSpec, base: RunConfig) -> list[str]:
    from assay.models.catalog import find_model

    short = [
        key.removeprefix(f"{spec.candidate}.") for key in known_keys() if key.startswith((f"{spec.candidate}.", POLICY))
    ]
    options = find_model(getattr(base, spec.candidate).model.name).options.model_fields
    return [*(f"model.options.{option}" for option in options), *short]


def _changed(values: dict[str, Any], spec: SweepSpec, changes: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Set fields in a config's values, in place; a mapping replaces the whole section."""
    for key, value in changes.items():
        set_key(values, _full_name(key, spec), value, where)
    return values


def policy_of(row: Row, sweep: Sweep, resolved: Policy) -> Policy:
    """Return the augmentation policy of a row: its own where it changes it, else what the augment step resolved."""
    own = row.config.augment.policy
    return resolved if own == sweep.base.augment.policy else own
