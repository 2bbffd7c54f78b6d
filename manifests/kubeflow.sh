#!/usr/bin/env bash
# Install Kubeflow Pipelines into the cluster that kubectl points at, then what Assay needs: manifests/kubeflow.sh gke|kind.
# Can be called again: it changes what differs. Kustomize fetches Kubeflow's and Argo's manifests from their
# repositories, so this needs the network; the kustomizations of this folder do not.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/tools.sh"

overlay=${1:-}
[[ $overlay == gke || $overlay == kind ]] || { echo "usage: manifests/kubeflow.sh gke|kind" >&2; exit 2; }
need_kubectl
need git # kustomize clones with it
kubectl version >/dev/null 2>&1 || fail "no cluster answers at kubectl's current context ($(kubectl config current-context 2>&1))."

upstream=https://github.com/kubeflow/pipelines//manifests/kustomize
apply() { # the network between here and there fails at times, and a webhook may not be up yet
  local try
  for try in 1 2 3 4 5; do
    kubectl apply -k "$1" && return
    echo "kubectl apply -k $1 failed (try $try of 5)" >&2
    sleep $((try * 5))
  done
  fail "kubectl apply -k $1 failed five times. See above; call this script again when it is mended."
}

# The values of a priority class cannot be changed: one of another Assay goes first. Pods keep what they were given.
kubectl diff -f "$root/manifests/base/priorities.yaml" >/dev/null 2>&1 ||
  kubectl delete --ignore-not-found -f "$root/manifests/base/priorities.yaml"
kubectl apply -f "$root/manifests/base/priorities.yaml"
apply "$upstream/cluster-scoped-resources?ref=$KFP_VERSION"
kubectl wait --for condition=established --timeout=120s crd/applications.app.k8s.io

# Kubeflow's manifests with manifests/kubeflow over them. The folder lies in this checkout: kustomize takes no absolute
# paths.
laid_over=$(mktemp -d "$root/manifests/.kubeflow-XXXXXX")
trap 'rm -rf "$laid_over"' EXIT
cat >"$laid_over/kustomization.yaml" <<YAML
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: ["$upstream/env/platform-agnostic?ref=$KFP_VERSION"]
components: [../kubeflow]
YAML
apply "$laid_over"
apply "$root/manifests/overlays/$overlay"

if [[ $overlay == gke ]]; then
  # Kubeflow's own accounts act as the identities that cloud.sh or Config Connector has made.
  # shellcheck source=manifests/overlays/gke/params/params.env
  source "$root/manifests/overlays/gke/params/params.env"
  identity_of() {
    kubectl -n "$namespace" get serviceaccount "$1" >/dev/null 2>&1 || return 0
    kubectl -n "$namespace" annotate --overwrite serviceaccount "$1" "iam.gke.io/gcp-service-account=$2"
  }
  identity_of ml-pipeline-ui "${viewer_identity:?}"
  identity_of ml-pipeline "${viewer_identity:?}"
  kubectl -n "$namespace" rollout restart deployment/ml-pipeline deployment/ml-pipeline-ui
fi

# What runs need; Kubeflow's parts of version 1 (viewer, visualization, cache) may come later or not at all.
needed=(ml-pipeline ml-pipeline-persistenceagent ml-pipeline-scheduledworkflow ml-pipeline-ui workflow-controller
  metadata-grpc-deployment metadata-envoy-deployment mysql seaweedfs)
[[ $overlay != kind ]] || needed+=(assay-storage)
echo "waiting until Kubeflow Pipelines $KFP_VERSION is up (several minutes at first) ..."
kubectl -n "$namespace" rollout status --timeout=15m "${needed[@]/#/deployment/}"
