"""Rules that keep scores honest, checked in the code itself."""

from __future__ import annotations

import ast
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
MAY_OPEN_THE_TEST_SPLIT = {"assay/evaluation/evaluate.py", "assay/registry/promote.py"}


def test_the_test_split_is_opened_by_evaluate_and_promote_only() -> None:
    opening = set()
    for folder in ("assay", "components", "pipelines"):
        for file in (REPOSITORY / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                named = isinstance(node, ast.Attribute) and node.attr == "open_test"
                # Nor by getattr, nor past the door by the name of the split.
                spelled = isinstance(node, ast.Constant) and node.value == "open_test"
                behind = (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and node.func.attr == "_open"
                    and any(isinstance(argument, ast.Constant) and argument.value == "test" for argument in node.args)
                )
                if named or spelled or behind:
                    opening.add(file.relative_to(REPOSITORY).as_posix())
    assert opening - {"assay/data/dataset.py"} <= MAY_OPEN_THE_TEST_SPLIT
    assert "assay/evaluation/evaluate.py" in opening


def test_all_rows_are_opened_to_make_folds_only() -> None:
    opening = {
        file.relative_to(REPOSITORY).as_posix()
        for folder in ("assay", "components", "pipelines")
        for file in (REPOSITORY / folder).rglob("*.py")
        if "open_all" in file.read_text(encoding="utf-8")
    }
    assert opening == {"assay/data/dataset.py", "assay/data/folds.py"}
