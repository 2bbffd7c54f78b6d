#!/usr/bin/env bash
# Print the name of a base image with Python 3.11: $BASE if given, one pulled from a registry, or, where no registry
# can be reached, one made from Debian's packages.
set -euo pipefail

PULLED=python:3.11-slim-bookworm
MADE=assay-base:bookworm

have() { docker image inspect "$1" >/dev/null 2>&1; }

if [[ -n ${BASE:-} ]]; then
  echo "$BASE"
  exit
fi
for image in "$PULLED" "$MADE"; do
  if have "$image"; then
    echo "$image"
    exit
  fi
done
if timeout 300 docker pull --quiet "$PULLED" >/dev/null 2>&1; then
  echo "$PULLED"
  exit
fi

echo "no registry can be reached: making $MADE from Debian's packages (a minute)" >&2
command -v debootstrap >/dev/null || { echo "debootstrap is missing: apt-get install debootstrap" >&2; exit 2; }
((EUID == 0)) || { echo "debootstrap must run as root, or give BASE=IMAGE with Python 3.11" >&2; exit 2; }
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv bookworm "$root" >"$root.log" 2>&1 ||
  { tail -20 "$root.log" >&2; exit 1; }
rm -rf "$root.log" "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
tar -C "$root" --numeric-owner -c . | docker import - "$MADE" >/dev/null
echo "$MADE"
