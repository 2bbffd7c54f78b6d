#!/usr/bin/env bash
# Run the tiny pipeline on the kind cluster, look at what it left, and break a few things under it: make kind-test.
# FAULTS names what is broken (manifests/kind/faults.py lists all); empty: nothing is.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../tools.sh"
need_kubectl
need make curl git
cd "$root"

source manifests/kind/reach.sh

# A seed of its own: nothing comes from Kubeflow's cache, so that every step is really scheduled. A name of its own: what
# is looked for was not left by an earlier test.
config=$work/tiny.yaml
model=${MODEL:-kind-$(date +%m%d-%H%M%S)}
{ sed "s/^name: .*/name: $model/" manifests/kind/tiny.yaml && echo "seed: $RANDOM"; } >"$config"
faults=${FAULTS-killed cancelled half-warm outputs-damaged chief-killed}
# followed: submits the config and follows the run; sets `run` to its id.
followed() {
  SECONDS=0
  make --no-print-directory submit WAIT=1 CONFIG="$config" | tee "$work/said"
  run=$(grep -oE '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}' "$work/said" | head -1)
}
echo "== run"
followed
echo "the run took $SECONDS s"
"$python" manifests/kind/timings.py "$run" "$namespace"

echo "== storage"
objects=$(curl -fsS "$STORAGE_EMULATOR_HOST/storage/v1/b/assay/o?prefix=kind/" |
  "$python" -c 'import json, sys; print(*(item["name"] for item in json.load(sys.stdin)["items"]), sep="\n")')
for wanted in kind/snapshots/ "kind/models/$model/versions/v1/" "kind/models/$model/champion.json"; do
  grep -q "^$wanted" <<<"$objects" || fail "nothing under gs://assay/$wanted. There is: $(head -20 <<<"$objects" | paste -sd' ')"
  echo "gs://assay/$wanted is there"
done
.venv/bin/assay registry list "$model" --storage gs://assay/kind

echo "== placement"
# where STEP: the nodes' pools of the step's pods of this run, as `pool spot` lines.
where() {
  local pod node
  kubectl -n "$namespace" get pods -l "pipeline/runid=$run,assay.dev/step=$1" \
    -o jsonpath='{range .items[*]}{.metadata.name}{" "}{.spec.nodeName}{"\n"}{end}' |
    while read -r pod node; do
      [[ -n $node ]] || continue
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

echo "== again"
followed
echo "the same once more, from the cache, took $SECONDS s"
"$python" manifests/kind/timings.py "$run" "$namespace"

echo "== wrong input"
code=0
make --no-print-directory submit WAIT=1 NO_PREFLIGHT=1 CONFIG="$config" SET="data.source=gs://assay/nothing" || code=$?
((code == 2)) || fail "wrong input ended with exit code $code, wanted 2."
echo "wrong input ends with exit code 2"

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
.venv/bin/assay schedule delete "$model"

if [[ -n $faults ]]; then
  echo "== faults"
  # shellcheck disable=SC2086 # names, one word each
  TINY=manifests/kind/tiny.yaml "$python" manifests/kind/faults.py $faults
fi

echo "kind-test: run, storage, placement, cache, wrong input, schedule${faults:+, faults} are as they should be"
