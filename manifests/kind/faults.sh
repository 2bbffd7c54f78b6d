#!/usr/bin/env bash
# Break things under runs on the kind cluster and print what came of it: make kind-faults, or manifests/kind/faults.sh FAULT...
# A few minutes each; manifests/kind/faults.py lists them.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../tools.sh"
need_kubectl
need git
cd "$root"
source manifests/kind/reach.sh

export TINY=manifests/kind/tiny.yaml
"$python" manifests/kind/faults.py "$@"
