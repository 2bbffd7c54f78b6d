#!/usr/bin/env bash
# Put images of this machine's Docker engine on the kind cluster's nodes: make load, or manifests/kind/load.sh IMAGE...
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../tools.sh"
need_kind

cluster=${KIND_CLUSTER:-assay}
(($#)) || { echo "usage: manifests/kind/load.sh IMAGE..." >&2; exit 2; }
kind get clusters 2>/dev/null | grep -qx "$cluster" || fail "there is no kind cluster '$cluster'. Create it: make kind-up"
for image in "$@"; do
  docker image inspect "$image" >/dev/null 2>&1 || fail "the image $image is not on this machine. Build it: make images"
done
kind load docker-image --name "$cluster" "$@"
