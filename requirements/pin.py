"""Pin requirements: read NAME.in, let pip resolve it, write NAME.txt with every package at its version.

Run by `make requirements`. pip's report is used and only names and versions are kept: a lock format with
download addresses would tie the project to one package index.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent


def resolve(*names: str, at: str | None = None) -> dict[str, str]:
    """Return {package: version} for what the named .in files need; ``at``: at the versions of this .txt."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    if at is not None:
        command += ["-c", str(FOLDER / f"{at}.txt")]
    for name in names:
        command += ["-r", str(FOLDER / f"{name}.in")]
    report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    found = (item["metadata"] for item in report["install"])
    return {package["name"].lower().replace("_", "-"): package["version"] for package in found}


def markers(name: str) -> dict[str, str]:
    """Return {requirement: marker} of the lines of an .in file that hold for some machines only."""
    lines = (FOLDER / f"{name}.in").read_text().splitlines()
    conditional = [line.partition(" ; ") for line in lines if " ; " in line and not line.startswith("#")]
    return {requirement: marker for requirement, _, marker in conditional}


def write(name: str, packages: dict[str, str], conditional: dict[str, str]) -> None:
    """Write NAME.txt."""
    named = {re.split("[=<>]", requirement)[0] for requirement in conditional}
    lines = [f"{package}=={version}" for package, version in sorted(packages.items()) if package not in named]
    lines += [f"{requirement} ; {marker}" for requirement, marker in conditional.items()]
    header = f"# Written by `make requirements` from {name}.in: change that file.\n"
    (FOLDER / f"{name}.txt").write_text(header + "\n".join(lines) + "\n")


run = resolve("run")
both = resolve("run", "dev")
clash = {package for package in run if both.get(package) != run[package]}
if clash:
    sys.exit(f"dev.in asks for other versions than run.in of: {', '.join(sorted(clash))}")
write("run", run, markers("run"))
write("dev", {package: version for package, version in both.items() if package not in run}, {})
write("audit", resolve("audit"), {})
# The images hold the very versions that the tests ran with.
for image in ("image-cpu", "image-gpu"):
    write(image, {**resolve(image, at="run"), "kfp": run["kfp"]}, {})
