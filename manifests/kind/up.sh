#!/usr/bin/env bash
# Create the kind cluster, with GPU pools that hold no GPU, and install everything: make kind-up.
set -euo pipefail
# KIND_NODE_IMAGE names another image for the nodes than manifests/versions.env. Can be called again: it goes on from
# what is there.
node_image=${KIND_NODE_IMAGE:-}
source "$(dirname "${BASH_SOURCE[0]}")/../tools.sh"
need_kind
need_kubectl

cluster=${KIND_CLUSTER:-assay}
if kind get clusters 2>/dev/null | grep -qx "$cluster"; then
  echo "the kind cluster '$cluster' is there already"
else
  kind create cluster --name "$cluster" --image "${node_image:-$KIND_NODE_IMAGE}" --config "$root/manifests/kind/cluster.yaml" --wait 5m
fi
kubectl config use-context "kind-$cluster" >/dev/null

# An extended resource without a device plugin: the scheduler counts it, and pods that ask for it start as they are.
mapfile -t nodes < <(kubectl get nodes -l assay.dev/pool=gpu -o name)
((${#nodes[@]})) || fail "the cluster '$cluster' has no node labelled assay.dev/pool=gpu. Remove it (make kind-down) and call this again."
for node in "${nodes[@]}"; do
  # "add" also replaces what is there. The kubelet forgets it when it starts again, and so does the node.
  kubectl patch "$node" --subresource=status --type=json \
    -p '[{"op": "add", "path": "/status/capacity/nvidia.com~1gpu", "value": "4"}]'
  kubectl wait "$node" --for=jsonpath='{.status.allocatable.nvidia\.com/gpu}'=4 --timeout=60s
done

"$root/manifests/kubeflow.sh" kind
echo "The cluster is up. Next: make load kind-test. The interface: kubectl -n $namespace port-forward svc/ml-pipeline-ui 8080:80"
