# Read by the scripts beside it: the versions, and a check of the tools that a script calls.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=manifests/versions.env
source "$root/manifests/versions.env"
# shellcheck disable=SC2034 # for the scripts that read this one
namespace=kubeflow

# Where `make kubectl` puts it.
PATH=$PATH:$root/.venv/bin

fail() {
  echo "error: $*" >&2
  exit 1
}

# need TOOL...: stop with the way to get the first that is missing.
need() {
  local tool
  for tool in "$@"; do
    command -v "$tool" >/dev/null && continue
    case $tool in
      docker) fail "docker is missing. Install Docker Engine (Debian: apt-get install docker.io) and start it." ;;
      kind) fail "kind is missing. Get v$KIND_VERSION: https://kind.sigs.k8s.io/docs/user/quick-start/#installation" ;;
      kubectl) fail "kubectl is missing. Get v$KUBECTL_MINIMUM or newer: https://kubernetes.io/docs/tasks/tools/ (make kubectl: into .venv)" ;;
      gcloud) fail "gcloud is missing. Get the Google Cloud CLI: https://cloud.google.com/sdk/docs/install" ;;
      *) fail "$tool is missing. Install it (Debian: apt-get install $tool)." ;;
    esac
  done
}

# at_least HAVE WANT: whether a dotted version is new enough.
at_least() { [[ $(printf '%s\n%s\n' "$2" "$1" | sort -V | head -1) == "$2" ]]; }

need_kubectl() {
  need kubectl
  local have
  have=$(kubectl version --client 2>/dev/null | sed -n 's/^Client Version: v\([0-9.]*\).*/\1/p')
  at_least "${have:-0}" "$KUBECTL_MINIMUM" || fail "kubectl ${have:-of unknown version} is too old. Get $KUBECTL_MINIMUM or newer."
}

need_kind() {
  need docker kind
  docker info >/dev/null 2>&1 || fail "no Docker engine answers. Start it, or set DOCKER_HOST."
  local have
  have=$(kind version | sed -n 's/^kind v\([0-9.]*\).*/\1/p')
  [[ $have == "$KIND_VERSION" ]] || echo "note: kind is $have; manifests/versions.env and its node image are for $KIND_VERSION." >&2
}
