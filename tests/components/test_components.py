"""The components: thin, typed, documented, and calling the library for all that they do."""

from __future__ import annotations

import ast
import importlib
import itertools
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("folder", [path.parent.name for path in FILES])
def test_a_readme_names_exactly_what_goes_in_and_comes_out(folder: str) -> None:
    text = (FOLDER / folder / "README.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {folder}\n")
    spec = getattr(importlib.import_module(f"components.{folder}.component"), folder).component_spec
    assert rows(text, "input") == set(spec.inputs or {})
    assert rows(text, "output") == set(spec.outputs or {})


def rows(text: str, table: str) -> set[str]:
    """Return the names in the first column of one table of a README."""
    _, _, after = text.partition(f"| {table} | type | what |\n|---|---|---|\n")
    lines = itertools.takewhile(lambda line: line.startswith("|"), after.splitlines())
    return {name.strip() for line in lines for name in line.split("|")[1].split(",")}
