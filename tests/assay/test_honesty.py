"""Rules that keep scores honest, checked in the code itself."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
MAY_OPEN_THE_TEST_SPLIT = {
    "assay/evaluation/evaluate.py",
    "assay/evaluation/folds.py",
    "assay/registry/promote.py",
}


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


@pytest.mark.parametrize(
    ("door", "files"),
    [
        ("open_all", {"assay/data/dataset.py", "assay/data/folds.py"}),
        ("open_fold", {"assay/data/folds.py", "assay/evaluation/folds.py"}),
    ],
)
def test_what_folds_test_is_opened_to_make_and_to_judge_them_only(door: str, files: set[str]) -> None:
    opening = {
        file.relative_to(REPOSITORY).as_posix()
        for folder in ("assay", "components", "pipelines")
        for file in (REPOSITORY / folder).rglob("*.py")
        if door in file.read_text(encoding="utf-8")
    }
    assert opening == files
