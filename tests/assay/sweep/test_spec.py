"""Specs of sweeps: rows resolved to whole configs, and every wrong field refused before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from assay.config import Policy
from assay.errors import InputError
from assay.sweep.changes import shown_changes
from assay.sweep.spec import Sweep, load_sweep, policy_of

BASE = """
version: 1
augment: {policy: {horizontal_flip: true}}
baseline: {model: {name: compact}, epochs: 2}
"""


def sweep(folder: Path, *overrides: str, **spec: Any) -> Sweep:
    (folder / "base.yaml").write_text(BASE, encoding="utf-8")
    values = {"version": 1, "name": "some", "config": "base.yaml", **spec}
    (folder / "sweep.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return load_sweep(folder / "sweep.yaml", overrides)


def test_a_grid_is_every_combination(tmp_path: Path) -> None:
    rows = sweep(tmp_path, grid={"batch_size": [16, 64], "optimizer.learning_rate": [0.1, 0.01, 0.001]}).rows
    pairs = {(row.config.baseline.batch_size, row.config.baseline.optimizer.learning_rate) for row in rows}
    assert len(rows) == len(pairs) == 6


def test_a_row_changes_only_what_it_names_and_short_and_full_names_are_the_same(tmp_path: Path) -> None:
    short, full = sweep(tmp_path, rows=[{"epochs": 3}, {"baseline.epochs": 4}]).rows
    assert (short.config.baseline.epochs, full.config.baseline.epochs) == (3, 4)
    assert short.config.baseline.model.name == "compact"


def test_a_mapping_replaces_its_section(tmp_path: Path) -> None:
    options = {"model": {"name": "compact", "options": {"width": 8}}}
    (row,) = sweep(tmp_path, common=options, rows=[{"model": {"name": "cnn6"}}]).rows
    assert row.config.baseline.model.options == {}


def test_a_row_stands_above_an_override_and_an_override_above_common(tmp_path: Path) -> None:
    made = sweep(tmp_path, "baseline.epochs=7", common={"epochs": 5}, rows=[{}, {"epochs": 9}])
    assert [row.config.baseline.epochs for row in made.rows] == [7, 9]


def test_any_field_of_finetune_can_vary(tmp_path: Path) -> None:
    rows = [{"unfreeze_from": "block5_conv1"}, {"unfreeze_from": -8}, {"epochs": 0}, {"frozen.batch_size": 64}]
    assert len(sweep(tmp_path, candidate="finetune", rows=rows).rows) == 4


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"rows": [{}, {"batchsize": 3}]}, "row 2: unknown field 'batchsize'. Did you mean 'batch_size'"),
        ({"rows": [{"width": 3}]}, "'model.options.width'"),
        ({"rows": [{"learning_rate": 3}]}, "'optimizer.learning_rate'"),
        ({"rows": [{"optimizer.learning_rat": 3}]}, "Did you mean 'learning_rate'"),
        ({"rows": [{"batch_size": 0}]}, "row 1: baseline.batch_size"),
        ({"rows": [{"optimizer": {"name": "adan"}}]}, "adan"),
        ({"rows": [{"model": {"name": "cnn33"}}]}, "row 1: model 'cnn33'"),
        ({"rows": [{"model.options.widths": 3}]}, "Did you mean 'width'"),
        ({"rows": [{"model.options.width": -3}]}, "-3"),
        ({"rows": [{"data.image_size": [32, 32]}]}, "cannot vary"),
        ({"rows": [{"finetune.epochs": 2}]}, "cannot vary"),
        ({"rows": [{"augment.preview_images": 2}]}, "cannot vary"),
        ({"rows": [{"baseline": {"epochs": 2}}]}, "cannot vary"),
        ({"rows": [{"epochs": 0}]}, "epochs is 0"),
        ({"rows": [{"epochs": 3}, {"batch_size": 32, "epochs": 3}]}, "row 2: it is the same as row 1"),
        ({"rows": [{"reported": "high"}]}, "'high'"),
        ({"rows": [{"epochs.x": 3}]}, "holds a value"),
        ({"rows": []}, "nothing to run"),
        ({"grid": {"epochs": []}}, "epochs"),
        ({}, "either rows or grid"),
        ({"rows": [{}], "grid": {"epochs": [1]}}, "either rows or grid"),
        ({"rows": [{}], "seeds": [1, 1]}, "different"),
        ({"rows": [{}], "sedes": [1]}, "Did you mean 'seeds'"),
        ({"rows": [{}], "metric": "test_auc"}, "metric"),
        ({"rows": [{}], "common": {"baseline.epoch": 1}}, "'epochs'"),
        ({"grid": {"batch_size": list(range(1, 200)), "epochs": list(range(1, 200))}}, "at most 1000 rows"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_the_way_out(tmp_path: Path, spec: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as error:
        sweep(tmp_path, **spec)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_spec_or_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.yaml: no such sweep"):
        load_sweep(tmp_path / "absent.yaml")
    with pytest.raises(InputError, match=r"other\.yaml: no such config"):
        sweep(tmp_path, config="other.yaml", rows=[{}])


def test_only_what_a_row_changes_is_shown_by_its_briefest_name(tmp_path: Path) -> None:
    rows = [{}, {"model": {"name": "cnn3"}}, {"optimizer.learning_rate": 0.01}, {"augment.policy": {}}]
    own, cells = shown_changes(sweep(tmp_path, rows=rows))
    assert cells == [{}, {"model": "cnn3"}, {"learning_rate": "0.01"}, {"augmentation": "none"}]
    assert own == {"model": "compact", "learning_rate": "0.001", "augmentation": "horizontal_flip"}


def test_fields_of_one_name_keep_what_tells_them_apart(tmp_path: Path) -> None:
    own, _ = shown_changes(sweep(tmp_path, candidate="finetune", rows=[{"epochs": 1}, {"frozen.epochs": 2}]))
    assert set(own) == {"epochs", "frozen.epochs"}


def test_an_option_that_one_row_names_is_shown_for_others_by_its_default(tmp_path: Path) -> None:
    own, cells = shown_changes(sweep(tmp_path, rows=[{}, {"model.options.width": 8}]))
    assert cells == [{}, {"width": "8"}]
    assert own["width"] == "24"


def test_a_row_that_leaves_the_policy_alone_trains_with_the_resolved_one(tmp_path: Path) -> None:
    made = sweep(tmp_path, rows=[{}, {"augment.policy": {}}])
    resolved = Policy(vertical_flip=True)
    assert policy_of(made.rows[0], made, resolved) == resolved
    assert policy_of(made.rows[1], made, resolved) == Policy()


def test_a_sweep_survives_json(tmp_path: Path) -> None:
    made = sweep(tmp_path, rows=[{}, {"epochs": 5, "label": "long"}])
    assert Sweep.from_json(made.to_json()) == made
