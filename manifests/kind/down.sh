#!/usr/bin/env bash
# Remove the kind cluster and everything in it: make kind-down.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../tools.sh"
need_kind

kind delete cluster --name "${KIND_CLUSTER:-assay}"
