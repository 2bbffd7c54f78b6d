"""The Dockerfile as it is written; the tests beside this one build it. They build the target `cpu` alone: `gpu` takes
several gigabytes of CUDA packages, and what differs between the two is read here."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STAGES = dict(
    re.findall(r"^FROM \S+ AS (\S+)\n(.*?)(?=^FROM |\Z)", (ROOT / "docker/Dockerfile").read_text(), re.M | re.S)
)


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, "docker/Dockerfile"], cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout


def test_the_images_differ_in_their_packages_and_in_what_the_nvidia_runtime_reads() -> None:
    def instructions(stage: str) -> list[str]:
        text = re.sub(r"^#.*\n", "", STAGES[stage], flags=re.M).replace("\\\n", "")
        return [line.replace("-gpu", "-KIND").replace("-cpu", "-KIND") for line in text.splitlines() if line]

    assert instructions("packages-cpu") == instructions("packages-gpu")
    cpu, gpu = instructions("cpu"), instructions("gpu")
    only_gpu = [line for line in gpu if line not in cpu]
    assert [line.split()[:2] for line in only_gpu] == [
        ["ENV", "NVIDIA_VISIBLE_DEVICES=all"],
        ["LABEL", 'org.opencontainers.image.title="Assay,'],
    ]
    assert [line.split()[0] for line in cpu if line not in gpu] == ["LABEL"]


def test_the_packages_of_the_images_differ_in_tensorflow_and_cuda_alone() -> None:
    def packages(kind: str) -> set[str]:
        lines = (ROOT / f"requirements/image-{kind}.txt").read_text().splitlines()
        return {line.removesuffix(" \\") for line in lines if "==" in line}

    cpu, gpu = packages("cpu"), packages("gpu")
    assert {re.split("[=<>]", line)[0] for line in cpu - gpu} == {"tensorflow-cpu"}
    assert {re.split("[-=<>]", line)[0] for line in gpu - cpu} == {"nvidia", "tensorflow"}


LISTS = sorted((ROOT / "requirements").glob("*.txt"))


@pytest.mark.parametrize("pins", LISTS, ids=lambda path: path.stem)
def test_every_package_of_a_list_has_its_version_and_hashes_and_no_address(pins: Path) -> None:
    text = re.sub(r" \\\n +", " ", pins.read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert lines
    assert "://" not in text
    for line in lines:
        assert re.fullmatch(r"[\w.-]+==[\w.!+]+( ; [^#]+?)?( --hash=sha256:[0-9a-f]{64})+", line), line


def test_pip_is_told_to_refuse_what_has_no_known_hash() -> None:
    for file in ("Makefile", "docker/install.sh", "requirements/kubectl.py"):
        text = (ROOT / file).read_text()
        assert "--require-hashes" in text
    installs = re.findall(r"pip.* install .*", (ROOT / "Makefile").read_text())
    assert [line for line in installs if "--require-hashes" not in line and "--editable ." not in line] == []
