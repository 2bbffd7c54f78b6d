#!/usr/bin/env bash
# Build one image: docker/build.sh cpu|gpu NAME:TAG. With BASE=IMAGE on another base than the Dockerfile's.
#
# Where pip gets packages from and the proxy are handed to the build as arguments, the CA bundle as a file; both end
# with the stage that installs and are in no image. PIP_CERT names another bundle.
set -euo pipefail
cd "$(dirname "$0")/.."

if (($# != 2)) || [[ $1 != cpu && $1 != gpu ]]; then
  echo "usage: docker/build.sh cpu|gpu NAME:TAG" >&2
  exit 2
fi
target=$1 image=$2
docker version >/dev/null 2>&1 || { echo "no Docker engine answers: start it, or set DOCKER_HOST" >&2; exit 2; }

python=.venv/bin/python
[[ -x $python ]] || python=python3
setting() { "$python" -m pip config get "global.$1" 2>/dev/null || true; }
# An index in a folder of this machine is not there inside the build.
reachable() { tr ' ' '\n' | grep -v '^file:' | paste -sd ' ' || true; }

arguments=(--build-arg "REVISION=$(git rev-parse HEAD)$([[ -z $(git status --porcelain) ]] || echo -dirty)")
arguments+=(--build-arg "VERSION=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' assay/__init__.py)")
[[ -z ${BASE:-} ]] || arguments+=(--build-arg "BASE=$BASE")
# The settings that the Dockerfile takes, by its own list.
while read -r variable; do
  value=$(reachable <<<"${!variable:-$(setting "$(tr 'A-Z_' 'a-z-' <<<"${variable#PIP_}")")}")
  # By name: the value may hold a password, and a command line can be read by others.
  [[ -z $value ]] || { export "$variable=$value"; arguments+=(--build-arg "$variable"); }
done < <(sed -n 's/^ARG \(PIP_[A-Z_]*\)$/\1/p' docker/Dockerfile | sort -u)
for variable in HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy; do
  [[ -z ${!variable:-} ]] || arguments+=(--build-arg "$variable")
done

bundle=${PIP_CERT:-${REQUESTS_CA_BUNDLE:-${SSL_CERT_FILE:-}}}
trap 'rm -f docker/host/ca.crt' EXIT
rm -f docker/host/ca.crt
[[ -z $bundle ]] || install -m 644 "$bundle" docker/host/ca.crt

docker build --quiet --network host --file docker/Dockerfile --target "$target" --tag "$image" "${arguments[@]}" . \
  >/dev/null
