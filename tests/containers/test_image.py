"""The image for CPU: who it runs as, what it may write, what a build leaves in it, and what a change of code costs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.containers.conftest import LENT, ROOT, Docker, say

pytestmark = pytest.mark.containers


@pytest.fixture(scope="module")
def inside(docker: Docker, image: str) -> Callable[..., str]:
    """Run a shell command in a container of the image, as it comes: ``inside("id -u")``."""
    return lambda command, *options: docker("run", "--rm", "--network=none", *options, image, "sh", "-c", command)


@pytest.fixture(scope="module")
def described(docker: Docker, image: str) -> dict:
    """What Docker knows of the image."""
    return json.loads(docker("image", "inspect", image))[0]


def test_it_is_of_a_reported_size(described: dict) -> None:
    size = described["Size"] / 1e9
    print(f"\nsize of the image for CPU: {size:.2f} GB")
    assert size < 2.5


def test_it_runs_as_nobody_in_particular_and_owns_nothing_of_its_code(inside) -> None:
    assert inside("id -u; id -g").split() == ["65532", "65532"]
    writable = inside(
        "find / -xdev -writable -not -type l -not -path '/tmp*' -not -path '/var/tmp*' 2>/dev/null || true"
    )
    assert [path for path in writable.splitlines() if not path.startswith(("/run/lock", "/dev/"))] == []


def test_its_health_check_passes_on_a_read_only_root(docker: Docker, image: str, described: dict) -> None:
    command = described["Config"]["Healthcheck"]["Test"]
    assert command[0] == "CMD"
    printed = docker("run", "--rm", "--network=none", "--read-only", "--tmpfs=/tmp", image, *command[1:])
    print(f"\n{printed}")
    assert printed.startswith("assay ")
    assert printed.endswith("uid 65532")


def test_its_code_is_this_checkouts(inside) -> None:
    from assay.hashing import code_version

    assert inside("python3 -c 'import assay.hashing as a; print(a.code_version(), a.__file__)'").split() == [
        code_version(),
        "/app/assay/hashing.py",
    ]


def test_its_labels_name_the_commit_and_kubeflow_finds_no_entrypoint(described: dict) -> None:
    labels = described["Config"]["Labels"]
    assert labels["org.opencontainers.image.revision"].removesuffix("-dirty") == say("git", "rev-parse", "HEAD")
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert not described["Config"]["Entrypoint"]


def test_nothing_that_the_build_was_lent_is_left(docker: Docker, image: str, described: dict, inside) -> None:
    assert LENT not in json.dumps(described) + docker("history", "--no-trunc", "--format={{json .}}", image)
    assert inside(f"grep -rlF {LENT} / --exclude-dir=proc --exclude-dir=sys 2>/dev/null || true", "--user=0") == ""
    assert inside("ls -d /host /opt/pip /install.sh /requirements 2>/dev/null || true") == ""


def test_it_cannot_install_packages(inside) -> None:
    assert "No module named pip" in inside("python3 -m pip 2>&1 || true")


def test_a_change_of_code_leaves_the_layer_of_packages_as_it_is(
    build, docker: Docker, described: dict, tmp_path: Path
) -> None:
    checkout, changed = tmp_path / "checkout", "assay:test-changed"
    for folder in ("assay", "docker", "requirements"):
        shutil.copytree(ROOT / folder, checkout / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".dockerignore", checkout)
    (checkout / ".venv").symlink_to(sys.prefix)
    with (checkout / "assay/__init__.py").open("a") as file:
        file.write("# changed\n")
    author = {f"GIT_{who}_{what}": "test@test" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    for command in (("init", "-q"), ("add", "assay", "docker"), ("commit", "-q", "-m", "changed")):
        say("git", *command, cwd=checkout, env={**os.environ, **author})
    started = time.monotonic()
    build(checkout, changed)
    print(f"\nbuild after a change of code: {time.monotonic() - started:.0f} s")
    try:
        (after,) = json.loads(docker("image", "inspect", changed))
    finally:
        docker("image", "rm", changed)
    *packages, code = described["RootFS"]["Layers"]
    assert after["RootFS"]["Layers"][:-1] == packages
    assert after["RootFS"]["Layers"][-1] != code


def test_a_target_that_does_not_exist_is_refused() -> None:
    done = subprocess.run([ROOT / "docker/build.sh", "tpu", "assay:x"], text=True, capture_output=True)
    assert (done.returncode, done.stderr) == (2, "usage: docker/build.sh cpu|gpu NAME:TAG\n")
