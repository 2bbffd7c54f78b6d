"""Look the pinned packages up among known vulnerabilities: `make audit`.

Exit code 0: none is known. 1: some are, and they are listed. 2: no database could be asked, and why.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).parent
LISTS = ("run", "image-cpu", "image-gpu", "dev", "audit")
DATABASES = ("pypi", "osv")
# A release that every database has an entry for (CVE-2019-10906): a mirror without entries would find all well.
KNOWN = "jinja2==2.10\n"


def ask(pins: Path, database: str) -> tuple[list[dict], str]:
    """Return the packages of a list that the database knows and what is known about each, or nothing and the reason."""
    command = [sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip", "--progress-spinner=off"]
    command += ["--format=json", f"--vulnerability-service={database}", f"--requirement={pins}"]
    done = subprocess.run(command, text=True, capture_output=True)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except ValueError:
        lines = done.stderr.strip().splitlines()
        return [], lines[-1][:200] if lines else f"pip-audit ended with {done.returncode}"
    found = [package for package in packages if "vulns" in package]
    return found, "" if found else packages[0].get("skip_reason", "it knows none of the packages")


def reachable() -> tuple[str, list[str]]:
    """Return the first database that knows what it must, or an empty name; and why the ones before it do not serve."""
    reasons = []
    with tempfile.TemporaryDirectory() as folder:
        known = Path(folder) / "known.txt"
        known.write_text(KNOWN)
        for database in DATABASES:
            found, reason = ask(known, database)
            if found and found[0]["vulns"]:
                return database, reasons
            reasons.append(f"{database}: {reason or f'it knows nothing against {KNOWN.strip()}'}")
    return "", reasons


def main() -> int:
    """Print what is known about each list's packages."""
    database, reasons = reachable()
    if not database:
        print(
            "not audited: no database of vulnerabilities can be reached from here",
            *reasons,
            sep="\n  ",
            file=sys.stderr,
        )
        return 2
    known = False
    for name in LISTS:
        pins = FOLDER / f"{name}.txt"
        wanted = sum("==" in line and not line.startswith("#") for line in pins.read_text().splitlines())
        packages, reason = ask(pins, database)
        bad = [package for package in packages if package["vulns"]]
        print(f"{name}.txt: {len(bad)} of {len(packages)} packages with known vulnerabilities ({database})")
        if len(packages) < wanted:
            print(f"  {wanted - len(packages)} more could not be looked up {reason}")
        for package in bad:
            known = True
            for one in package["vulns"]:
                mended = ", ".join(one["fix_versions"]) or "no version yet"
                print(f"  {package['name']} {package['version']}: {one['id']}, mended in {mended}")
    return 1 if known else 0


if __name__ == "__main__":
    sys.exit(main())
