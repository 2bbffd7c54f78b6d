#!/usr/bin/env bash
# Run the tiny pipeline on the kind cluster and look at what it left: make kind-test.
# The images are those of the commit (make images load), or ASSAY_IMAGES__CPU and ASSAY_IMAGES__GPU.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../tools.sh"
need_kubectl
need make curl git
cd "$root"

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
# forward SERVICE PORT: sets `address` to where the service now answers on this machine.
forward() {
  : >"$work/$1" # the other process may not have opened it at the first look
  kubectl -n "$namespace" port-forward "service/$1" ":$2" >"$work/$1" 2>&1 &
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

# A seed of its own: nothing comes from Kubeflow's cache, so that every step is really scheduled.
config=$work/tiny.yaml
{ cat manifests/kind/tiny.yaml && echo "seed: $RANDOM"; } >"$config"
started=$(date -u +%Y-%m-%dT%H:%M:%SZ)
echo "== run"
make --no-print-directory submit WAIT=1 CONFIG="$config"

echo "== storage"
objects=$(curl -fsS "$STORAGE_EMULATOR_HOST/storage/v1/b/assay/o?prefix=kind/" |
  "$python" -c 'import json, sys; print(*(item["name"] for item in json.load(sys.stdin)["items"]), sep="\n")')
for wanted in kind/snapshots/ kind/models/kind/versions/v1/ kind/models/kind/champion.json; do
  grep -q "^$wanted" <<<"$objects" || fail "nothing under gs://assay/$wanted. There is: $(head -20 <<<"$objects" | paste -sd' ')"
  echo "gs://assay/$wanted is there"
done
.venv/bin/assay registry list kind --storage gs://assay/kind

echo "== placement"
# where STEP: the nodes' pools of the step's pods of this run, as `pool spot` lines.
where() {
  local pod node
  kubectl -n "$namespace" get pods -l "assay.dev/step=$1" --sort-by=.metadata.creationTimestamp \
    -o jsonpath='{range .items[*]}{.metadata.creationTimestamp}{" "}{.metadata.name}{" "}{.spec.nodeName}{"\n"}{end}' |
    while read -r created pod node; do
      [[ $created < $started || -z $node ]] && continue
      echo "$1: $pod on $node" >&2
      kubectl get node "$node" \
        -o go-template='{{index .metadata.labels "assay.dev/pool"}} {{index .metadata.labels "cloud.google.com/gke-spot"}}{{"\n"}}'
    done | sort -u
}
expect() { # STEP POOL
  local found
  found=$(where "$1")
  [[ -n $found ]] || fail "$1: no pod of this run is left. See the run in Kubeflow's interface."
  [[ $found == "$2" ]] || fail "$1: scheduled on '$found', wanted '$2'. Compare its pod with manifests/kind/settings.yaml."
}
for step in ingest preprocess augment promote; do expect "$step" "cpu <no value>"; done
for step in baseline finetune evaluate; do expect "$step" "gpu <no value>"; done
expect search "gpu true"

echo "== schedule"
schedules() {
  curl -fsS "$KFP_HOST/apis/v2beta1/recurringruns?page_size=100" |
    "$python" -c 'import json, sys; print(*(run["recurring_run_id"] for run in json.load(sys.stdin).get("recurringRuns", [])), sep="\n")'
}
before=$(schedules | grep -c . || true)
for _ in once again; do
  make --no-print-directory schedule CRON="0 0 3 * * *" CONFIG="$config"
  after=$(schedules | grep -c . || true)
  ((after == before + 1 || after == before)) || fail "$after schedules after one was asked for; there were $before before."
done
((after >= 1)) || fail "no schedule is there after make schedule. See kubectl -n $namespace logs deploy/ml-pipeline"
echo "$after schedule(s), however often asked for"

echo "== time"
run=$(kubectl -n "$namespace" get pods -l assay.dev/step=ingest --sort-by=.metadata.creationTimestamp \
  -o jsonpath='{.items[-1:].metadata.labels.pipeline/runid}')
"$python" manifests/kind/timings.py "$run" "$namespace"

echo "kind-test: run, storage, placement and schedule are as they should be"
