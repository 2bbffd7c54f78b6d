"""The scripts of the cluster: shellcheck, versions in one place, and what they say on a machine without the tools."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.manifests.conftest import MANIFESTS, ROOT

SCRIPTS = sorted(file for file in MANIFESTS.rglob("*.sh"))
OTHERS = [*sorted((ROOT / "docker").rglob("*.sh")), *sorted((ROOT / "tests").rglob("*.sh")), ROOT / ".ci/run"]
CALLED = [file for file in SCRIPTS if file.name not in ("tools.sh", "reach.sh")]
VERSIONS = dict(
    line.split("=", 1) for line in (MANIFESTS / "versions.env").read_text().splitlines() if line and line[0] != "#"
)


def relative(file: Path) -> str:
    """Return the name of a file in test output."""
    return str(file.relative_to(ROOT))


@pytest.mark.parametrize("script", (*SCRIPTS, *OTHERS), ids=relative)
def test_shellcheck_finds_nothing(script: Path) -> None:
    shellcheck = Path(sys.executable).with_name("shellcheck")
    command = [shellcheck, "-x", "-P", "SCRIPTDIR", "-P", ROOT, script]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("script", CALLED, ids=relative)
def test_scripts_can_be_called_and_stop_at_the_first_error(script: Path) -> None:
    assert script.stat().st_mode & 0o111
    text = script.read_text()
    assert text.startswith("#!/usr/bin/env bash\n#") and "\nset -euo pipefail\n" in text


@pytest.mark.parametrize("script", CALLED, ids=relative)
def test_a_missing_tool_is_named_with_the_way_to_get_it(script: Path, tmp_path: Path) -> None:
    for tool in ("bash", "dirname", "sed", "sort", "head", "env"):
        (tmp_path / tool).symlink_to(Path("/usr/bin") / tool)
    arguments = {"kubeflow.sh": ["kind"], "load.sh": ["assay:1"]}.get(script.name, [])
    # A copy, so that the .venv of this checkout with its kubectl is not found.
    copy = tmp_path / "manifests"
    for file in (*SCRIPTS, MANIFESTS / "versions.env", MANIFESTS / "overlays/gke/params/params.env"):
        target = copy / file.relative_to(MANIFESTS)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
        target.chmod(file.stat().st_mode)
    result = subprocess.run(
        [copy / script.relative_to(MANIFESTS), *arguments],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert re.fullmatch(r"error: (docker|kind|kubectl|gcloud) is missing\. (Get|Install) .+\n", result.stderr)


def test_versions_are_named_in_one_place() -> None:
    assert set(VERSIONS) == {"KFP_VERSION", "KIND_VERSION", "KIND_NODE_IMAGE", "KUBECTL_MINIMUM"}
    assert "@sha256:" in VERSIONS["KIND_NODE_IMAGE"]
    # The SDK and the backend are one version.
    assert f"kfp=={VERSIONS['KFP_VERSION']} \\" in (ROOT / "requirements/run.txt").read_text().splitlines()
    for script in SCRIPTS:
        text = script.read_text()
        assert not any(version in text for version in VERSIONS.values()), f"{script}: read versions.env instead"


def test_kinds_tiny_config_is_right_and_offline() -> None:
    from assay.config import load_config

    config = load_config(MANIFESTS / "kind/tiny.yaml", [])
    assert config.data.source.startswith("demo://")
    assert config.finetune.weights == "none"


def test_kinds_cluster_is_a_kind_config() -> None:
    cluster = yaml.safe_load((MANIFESTS / "kind/cluster.yaml").read_text())
    assert (cluster["kind"], cluster["apiVersion"]) == ("Cluster", "kind.x-k8s.io/v1alpha4")
    assert [node["role"] for node in cluster["nodes"]] == ["control-plane", "worker", "worker", "worker"]
