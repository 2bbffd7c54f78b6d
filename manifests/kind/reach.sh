# Read by test.sh and faults.sh, in the checkout: the kind cluster's API and storage on this machine, and its settings.
# The images are those of the commit (make images load), or ASSAY_IMAGES__CPU and ASSAY_IMAGES__GPU.
# shellcheck shell=bash disable=SC2154 # root and namespace are of tools.sh

cluster=${KIND_CLUSTER:-assay}
python=$root/.venv/bin/python
[[ -x $python ]] || fail "there is no .venv. Make it: make install"
kubectl config use-context "kind-$cluster" >/dev/null || fail "there is no kind cluster '$cluster'. Create it: make kind-up"

export ASSAY_SETTINGS=manifests/kind/settings.yaml
export ASSAY_IMAGES__CPU=${ASSAY_IMAGES__CPU:-assay:$(git rev-parse --short=12 HEAD)}
export ASSAY_IMAGES__GPU=${ASSAY_IMAGES__GPU:-$ASSAY_IMAGES__CPU}

work=$(mktemp -d)
forwards=()
trap 'kill "${forwards[@]}" 2>/dev/null || true; rm -rf "$work"' EXIT
# keep SERVICE PORT: forwards a free port, and the same one again when the pod behind it is gone, as under a fault.
keep() {
  local child port=""
  trap 'kill "$child" 2>/dev/null; exit' TERM
  while true; do
    kubectl -n "$namespace" port-forward "service/$1" "$port:$2" >>"$work/$1" 2>&1 &
    child=$!
    wait "$child" || true
    port=$(sed -n 's#^Forwarding from 127.0.0.1:\([0-9]*\) .*#\1#p' "$work/$1" | head -1)
    sleep 1
  done
}
# forward SERVICE PORT: sets `address` to where the service now answers on this machine.
forward() {
  : >"$work/$1" # the other process may not have opened it at the first look
  keep "$1" "$2" &
  forwards+=($!)
  local try
  for try in {1..50}; do
    address=$(sed -n 's#^Forwarding from \(127.0.0.1:[0-9]*\) .*#http://\1#p' "$work/$1" | head -1)
    [[ -z $address ]] || return 0
    sleep 0.2
  done
  fail "service/$1 cannot be reached after $try looks: $(tail -1 "$work/$1"). Is Kubeflow up? kubectl -n $namespace get pods"
}
forward ml-pipeline 8888
export KFP_HOST=$address
forward assay-storage 4443
export STORAGE_EMULATOR_HOST=$address
