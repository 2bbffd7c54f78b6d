"""The image under test, built as `make images` does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IMAGE = "assay:test-containers"
# Stand for what a build is lent, which must not stay in the image: a name in pip's settings, a line in the CA bundle.
LENT = "lent-to-the-build.invalid"

Docker = Callable[..., str]


def say(*command: object, env: dict[str, str] | None = None, cwd: Path = ROOT) -> str:
    """Run a command and return what it prints."""
    done = subprocess.run([*map(str, command)], cwd=cwd, env=env, text=True, capture_output=True)
    assert done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout.strip()


@pytest.fixture(scope="session")
def docker() -> Docker:
    """Call Docker: ``docker("run", "--rm", image, "id")`` returns what it prints."""
    return lambda *arguments: say("docker", *arguments)


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path, str], None]:
    """Build the image for CPU from a checkout: ``build(checkout, "name:tag")``."""
    setting = [sys.executable, "-m", "pip", "config", "get", "global.trusted-host"]
    trusted = os.environ.get("PIP_TRUSTED_HOST") or subprocess.run(setting, text=True, capture_output=True).stdout
    bundle = tmp_path_factory.mktemp("lent") / "ca.crt"
    present = next(filter(None, map(os.environ.get, ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"))), None)
    shutil.copyfile(present or Path("/etc/ssl/certs/ca-certificates.crt"), bundle)
    with bundle.open("a") as file:
        file.write(f"# {LENT}\n")
    environment = {**os.environ, "PIP_TRUSTED_HOST": f"{trusted.strip()} {LENT}".strip(), "PIP_CERT": str(bundle)}
    environment["BASE"] = say(ROOT / "tests/containers/base.sh")

    def call(checkout: Path, image: str) -> None:
        say(checkout / "docker/build.sh", "cpu", image, env=environment)

    return call


@pytest.fixture(scope="session")
def image(build: Callable[[Path, str], None]) -> str:
    """The image for CPU of this checkout."""
    build(ROOT, IMAGE)
    return IMAGE
