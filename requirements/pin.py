"""Pin requirements: read NAME.in, let uv resolve it, write NAME.txt with every package at its version and the hashes
of all files of that release. Run by `make requirements`; with --upgrade, what is pinned already moves on as well.

Lists for machines of any kind hold what each of them needs, under markers. No address is written: hashes are the
same wherever a release comes from, and a list with addresses would tie the project to one package index.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).parent
# The oldest Python that runs, and what the images are made of.
PYTHON = "3.11"
IMAGE = "x86_64-manylinux_2_36"


def settings() -> dict[str, str]:
    """Return the environment for uv: the index and the certificates that pip is told to use here."""
    found = dict(os.environ)
    names = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX", "cert": "SSL_CERT_FILE"}
    for option, variable in names.items():
        command = [sys.executable, "-m", "pip", "config", "get"]
        for place in ("global", ":env:"):
            said = subprocess.run([*command, f"{place}.{option}"], text=True, capture_output=True).stdout.strip()
            if said:
                found[variable] = said
    return found


def compile_list(name: str, *options: str, at: str | None = None, upgrade: bool = False) -> dict[str, str]:
    """Return what NAME.in needs: by package, its lines in a list.

    Args:
        name: Of the list.
        options: Of uv.
        at: A list whose versions are taken where both name a package.
        upgrade: Whether to forget the versions of the present list.
    """
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "pins.txt"
        present = FOLDER / f"{name}.txt"
        if present.exists():
            target.write_text(present.read_text())
        command = ["uv", "pip", "compile", str(FOLDER / f"{name}.in"), "--output-file", str(target), "--quiet"]
        command += ["--generate-hashes", "--no-annotate", "--no-header", "--no-config", "--python-version", PYTHON]
        command += ["--constraints", str(FOLDER / f"{at}.txt")] if at else []
        command += ["--upgrade"] if upgrade else []
        found = subprocess.run([*command, *options], env=settings(), text=True, capture_output=True)
        if found.returncode:
            sys.exit(f"{name}.in: {found.stderr.strip()}")
        return {match[1]: match[0] for match in re.finditer(r"^(\S+?)==.*(?:\n    .*)*", target.read_text(), re.M)}


def write(name: str, packages: dict[str, str]) -> None:
    """Write NAME.txt."""
    header = f"# Written by `make requirements` from {name}.in: change that file.\n"
    lines = [packages[package] for package in sorted(packages)]
    (FOLDER / f"{name}.txt").write_text(header + "\n".join(lines) + "\n")


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--upgrade", action="store_true")
upgrade = parser.parse_args().upgrade
run = compile_list("run", "--universal", upgrade=upgrade)
write("run", run)
dev = compile_list("dev", "--universal", at="run", upgrade=upgrade)
write("dev", {package: lines for package, lines in dev.items() if package not in run})
write("audit", compile_list("audit", "--universal", upgrade=upgrade))
for alone in ("weights", "kubectl"):
    write(alone, compile_list(alone, "--no-deps", upgrade=upgrade))
# The images hold the very versions that the tests ran with, and kfp without what only its compiler needs.
for image in ("image-cpu", "image-gpu"):
    packages = compile_list(image, "--python-platform", IMAGE, at="run", upgrade=upgrade)
    write(image, {**packages, "kfp": run["kfp"]})
