"""docs/architecture.md tells the rooms and files that there are, in the order in which they may import."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def rooms() -> list[list[str]]:
    """Return the rooms of each row of the page's table, from the top."""
    table = PAGE.split("| room | what | begin at |\n|---|---|---|\n")[1].split("\n\n")[0]
    return [[name.strip("/") for name in re.findall(r"`([\w/]+)`", row.split("|")[1])] for row in table.splitlines()]


def test_every_room_of_the_library_is_told() -> None:
    there = {path.stem for path in (ROOT / "assay").iterdir() if not path.name.startswith("_")}
    assert {name for row in rooms() for name in row} == there


def test_the_rooms_stand_in_the_order_of_the_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (layers,) = (contract["layers"] for contract in contracts if contract.get("containers") == ["assay"])
    height = {name: number for number, layer in enumerate(reversed(layers)) for name in layer.split(" : ")}
    told = [name for row in rooms() for name in row]
    below: set[str] = set()
    for name in told:
        # Rooms of one layer stand in any order; none stands above one that it may import.
        assert all(height[other] <= height[name] for other in below), name
        below.add(name)


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_the_files_that_a_page_names_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    named = re.findall(r"`((?:assay|components|pipelines|tests|docs|manifests)/[\w./-]+)`", text)
    assert named
    assert not [name for name in named if not (ROOT / name).exists()]
    links = re.findall(r"\]\(([\w./-]+)\)", text)
    assert not [link for link in links if not (ROOT / page).parent.joinpath(link).exists()]
