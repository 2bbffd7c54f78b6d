"""docs/cluster.md and docs/operations.md against what is there."""

from __future__ import annotations

import re

import pytest

from pipelines.settings import Auth, Profile, Settings
from tests.manifests.conftest import ROOT

PAGES = ("docs/cluster.md", "docs/operations.md")


@pytest.mark.parametrize("model", [Settings, Profile, Auth])
def test_every_setting_has_its_row(model: type[Settings] | type[Profile] | type[Auth]) -> None:
    text = (ROOT / "docs/cluster.md").read_text()
    for name, field in model.model_fields.items():
        assert re.search(rf"^\| `{name}` \| .+ \| .+ \|$", text, flags=re.MULTILINE), (
            f"docs/cluster.md: no row of {name}"
        )
        if field.description:
            assert field.description in text, f"docs/cluster.md: {name} is described otherwise in the settings"


@pytest.mark.parametrize("page", PAGES)
def test_files_and_targets_that_a_page_names_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    assert f"({page})" in (ROOT / "README.md").read_text()
    for name in re.findall(r"(?:manifests|pipelines/configs)/[\w./-]*\w", text):
        assert (ROOT / name).exists(), f"{page}: {name} does not exist"
    for link in re.findall(r"\]\(([\w./-]+\.md)\)", text):
        assert (ROOT / "docs" / link).is_file(), f"{page}: {link} does not exist"
