"""The components: thin, typed, documented, and calling the library for all that they do."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

from assay import steps

FOLDER = Path(__file__).parents[2] / "components"
FILES = sorted(FOLDER.glob("*/component.py"))


def functions(path: Path) -> list[ast.FunctionDef]:
    return [node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_a_component_imports_from_the_library_alone_and_decides_little(path: Path) -> None:
    for function in functions(path):
        imported = [node for node in ast.walk(function) if isinstance(node, ast.ImportFrom)]
        assert imported
        assert all((node.module or "").split(".")[0] == "assay" for node in imported)
        assert not any(isinstance(node, ast.For | ast.While | ast.Try) for node in ast.walk(function))
        assert ast.get_docstring(function)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_a_component_calls_its_step_with_the_arguments_that_it_takes(path: Path) -> None:
    for function in functions(path):
        for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
            target = call.func
            if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == "steps":
                taken = inspect.signature(getattr(steps, target.attr)).parameters
                assert len(call.args) + len(call.keywords) == len(taken), target.attr


@pytest.mark.parametrize("folder", [path.parent for path in FILES], ids=lambda path: path.name)
def test_a_component_has_a_readme_with_inputs_outputs_and_failures(folder: Path) -> None:
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {folder.name}\n")
    assert "| input | type | what |" in text
