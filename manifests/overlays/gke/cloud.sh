#!/usr/bin/env bash
# Make the cloud's side of a GKE cluster with gcloud: cluster, node pools, bucket, identities, from params/params.env.
# The same as config-connector/, for projects without Config Connector. What is there already is left as it is.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/../../tools.sh"
need gcloud
# shellcheck source=manifests/overlays/gke/params/params.env
source "$here/params/params.env"
[[ $project != my-project ]] || fail "params.env still names my-project: sed -i s/my-project/YOUR-PROJECT/ $here/params/params.env"

there() { gcloud "$@" --project "$project" >/dev/null 2>&1; }
make() {
  echo "+ gcloud $*"
  gcloud "$@" --project "$project" --quiet
}

make services enable container.googleapis.com storage.googleapis.com iam.googleapis.com

there container clusters describe "$cluster" --location "$location" ||
  make container clusters create "$cluster" --location "$location" --release-channel regular \
    --enable-ip-alias --enable-dataplane-v2 --workload-pool "$project.svc.id.goog" \
    --machine-type e2-standard-4 --num-nodes 2 --enable-shielded-nodes

# pool NAME FLAG...: a pool from zero nodes.
pool() {
  local name=$1
  shift
  there container node-pools describe "$name" --cluster "$cluster" --location "$location" && return
  make container node-pools create "$name" --cluster "$cluster" --location "$location" \
    --num-nodes 0 --enable-autoscaling --min-nodes 0 --image-type cos_containerd --disk-type pd-balanced \
    --workload-metadata GKE_METADATA --scopes cloud-platform --shielded-integrity-monitoring \
    --metadata disable-legacy-endpoints=true "$@"
}
pool assay-cpu --machine-type e2-standard-8 --disk-size 100 --max-nodes 8 --location-policy BALANCED \
  --node-labels assay.dev/pool=cpu --shielded-secure-boot
pool assay-gpu --machine-type g2-standard-8 --disk-size 200 --max-nodes 4 --location-policy BALANCED \
  --accelerator type=nvidia-l4,count=1,gpu-driver-version=latest \
  --node-labels assay.dev/pool=gpu \
  --node-taints nvidia.com/gpu=present:NoSchedule
pool assay-gpu-spot --machine-type g2-standard-8 --disk-size 200 --max-nodes 8 --location-policy ANY --spot \
  --accelerator type=nvidia-l4,count=1,gpu-driver-version=latest \
  --node-labels assay.dev/pool=gpu \
  --node-taints nvidia.com/gpu=present:NoSchedule,cloud.google.com/gke-spot=true:NoSchedule

if ! there storage buckets describe "gs://$bucket"; then
  make storage buckets create "gs://$bucket" --location "$bucket_location" --uniform-bucket-level-access \
    --public-access-prevention --soft-delete-duration 7d
fi

for identity in "$pipeline_identity" "$viewer_identity"; do
  there iam service-accounts describe "$identity" || make iam service-accounts create "${identity%%@*}"
done
make storage buckets add-iam-policy-binding "gs://$bucket" \
  --member "serviceAccount:$pipeline_identity" --role roles/storage.objectUser
make storage buckets add-iam-policy-binding "gs://$bucket" \
  --member "serviceAccount:$viewer_identity" --role roles/storage.objectViewer
# Workload identity: which Kubernetes accounts may act as which Google identity.
make iam service-accounts add-iam-policy-binding "$pipeline_identity" \
  --member "$pipeline_member" --role roles/iam.workloadIdentityUser
for member in "$interface_member" "$api_member"; do
  make iam service-accounts add-iam-policy-binding "$viewer_identity" \
    --member "$member" --role roles/iam.workloadIdentityUser
done

make container clusters get-credentials "$cluster" --location "$location"
