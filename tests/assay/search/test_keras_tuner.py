"""The parts of KerasTuner that the search relies on, private ones included, are those that it was written against."""

from __future__ import annotations

import ast
import hashlib
import importlib
import inspect
from types import ModuleType
from typing import Any

import keras_tuner
import pytest

SOURCE = "keras_tuner.src"
# Hashes of the source in KerasTuner 1.4.8. Where one differs, read what has changed,
# see that `assay.search` still does what it says, and write the new hash down.
RELIED_ON = {
    "engine.oracle:synchronized": "4d774bc95768",
    "engine.oracle:Oracle.__init__": "bc7a7ca0b876",
    "engine.oracle:Oracle.create_trial": "d2dc6cff62bc",
    "engine.oracle:Oracle.update_trial": "a0f46ed1c93b",
    "engine.oracle:Oracle.end_trial": "8a0ea2f3d72c",
    "engine.oracle:Oracle._retry": "1622170ee1ab",
    "engine.oracle:Oracle._record_values": "23e3d2a51bb6",
    "engine.oracle:Oracle._random_values": "636f8d505003",
    "engine.oracle:Oracle._duplicate": "05951ea8f341",
    "engine.oracle:Oracle._compute_values_hash": "f154c6e6a94b",
    "engine.oracle:Oracle._check_consecutive_failures": "b7c43bd0cfd1",
    "engine.oracle:Oracle.score_trial": "d73d3d24cd5a",
    "engine.oracle:Oracle.get_state": "22995a1fd6cb",
    "engine.oracle:Oracle.set_state": "8f28971844fc",
    "engine.oracle:Oracle.save": "25adda2e9b38",
    "engine.oracle:Oracle.reload": "ffbbdb9af973",
    "engine.oracle:Oracle._save_trial": "82dbcaca6ced",
    "engine.oracle:Oracle._get_trial_dir": "85ec10892063",
    "engine.oracle:Oracle._set_project_dir": "7b61c226abe5",
    "engine.base_tuner:BaseTuner.__init__": "8ded0ba4f524",
    "engine.base_tuner:BaseTuner.search": "2e7a3bd6c549",
    "engine.base_tuner:BaseTuner._run_and_update_trial": "78eef37655cf",
    "engine.base_tuner:BaseTuner._try_run_and_update_trial": "9ab2f9b5c7b0",
    "engine.base_tuner:BaseTuner.on_trial_end": "f41993434c52",
    "engine.base_tuner:BaseTuner._is_worker": "de58a1a2ef71",
    "engine.base_tuner:BaseTuner._get_tuner_fname": "9e46d2f43e25",
    "tuners.randomsearch:RandomSearchOracle.populate_space": "fa34932a11ee",
    "tuners.bayesian:BayesianOptimizationOracle.populate_space": "05d8da21f918",
    "tuners.bayesian:BayesianOptimizationOracle.get_state": "db5f333574e2",
    "tuners.bayesian:BayesianOptimizationOracle.set_state": "e3a5336d4bce",
    "distribute.oracle_chief:OracleServicer": "7c7a0179131a",
    "distribute.oracle_client:OracleClient": "632983699cc2",
    "distribute.utils:has_chief_oracle": "9d34d90e4d66",
    "distribute.utils:is_chief_oracle": "bca382b39b92",
}


def source_of(module: ModuleType, name: str) -> str:
    """Return the text of a function or class, decorators included."""
    text = inspect.getsource(module)
    tree: Any = ast.parse(text)
    for part in name.split("."):
        tree = next(node for node in tree.body if getattr(node, "name", "") == part)
    first = min([tree.lineno, *(decorator.lineno for decorator in tree.decorator_list)])
    return "\n".join(text.splitlines()[first - 1 : tree.end_lineno])


@pytest.mark.parametrize("name", RELIED_ON)
def test_what_is_relied_on_is_as_it_was(name: str) -> None:
    module, _, part = name.partition(":")
    source = source_of(importlib.import_module(f"{SOURCE}.{module}"), part)
    found = hashlib.sha256(source.encode()).hexdigest()[:12]
    assert found == RELIED_ON[name], f"KerasTuner {keras_tuner.__version__} has changed {name}: {found}"
