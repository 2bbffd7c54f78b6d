"""Settings: whether an image holds the steps of the checkout that submits."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pipelines.settings import differs_from


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with a commit of two steps' files and one beside them."""
    for name in ("assay/steps.py", "components/ingest.py", "docs/page.md"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("first\n", encoding="utf-8")
    who = ("-c", "user.name=Assay", "-c", "user.email=assay@example.org")
    for command in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "Begin"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True, capture_output=True)
    return tmp_path


def test_an_image_of_other_steps_than_the_checkouts_is_known(checkout: Path) -> None:
    command = ["git", "-C", str(checkout), "rev-parse", "--short=12", "HEAD"]
    commit = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    image = f"registry.example:5000/team/assay:{commit}"
    assert differs_from(image, checkout) == ""
    (checkout / "docs/page.md").write_text("second\n", encoding="utf-8")
    assert differs_from(image, checkout) == "", "what is no step does not count"
    (checkout / "components/ingest.py").write_text("second\n", encoding="utf-8")
    assert differs_from(image, checkout) == commit


@pytest.mark.parametrize("image", ["assay:dev", "assay", "assay:0123456789ab", f"assay@sha256:{'0' * 64}"])
def test_of_a_commit_that_is_not_known_nothing_is_said(image: str, checkout: Path) -> None:
    assert differs_from(image, checkout) == ""
