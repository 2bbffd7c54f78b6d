"""Look before a run whether the cluster has what it needs: a line for each thing, with the way out where it is missing.

Kubernetes is asked with the rights of manifests/base/users.yaml; what may not be looked at is a note and no failure.
Not looked at: what the pods' own identity may do (making the Job of a search, reading the bucket), which needs more
rights than users have; and whether images are there, which only their registry knows.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.markup import escape

from assay.config import RunConfig
from assay.errors import AssayError
from assay.search.job import PROFILE_VARIABLE, worker_profile
from pipelines.cluster import engine
from pipelines.cluster.client import NoKubernetes, kubernetes_api
from pipelines.cluster.errors import cause, message
from pipelines.cluster.findings import Finding, State
from pipelines.cluster.submit import for_cluster
from pipelines.graphs.order import enabled_candidates, enabled_steps
from pipelines.settings import SPOT_LABEL, Accelerator, Profile, Settings, Toleration, differs_from

SECONDS = 10
# Where the cluster's autoscaler says how it is, on GKE too.
AUTOSCALER = ("cluster-autoscaler-status", "kube-system")
EMULATOR_VARIABLE = "STORAGE_EMULATOR_HOST"
ASK_FOR_THE_ROLE = "Ask for the role in manifests/base/users.yaml."
# Pods that are made beside the steps' own.
WORKERS = "search workers"
# A quota may name the same thing in several ways; accelerators it knows as requests alone.
QUOTA_NAMES = {
    "cpu": ("cpu", "requests.cpu"),
    "memory": ("memory", "requests.memory", "limits.memory"),
    "pods": ("pods", "count/pods"),
}


@dataclass(frozen=True)
class Ask:
    """What a pod asks of a node.

    Attributes:
        labels: That the node must have.
        tolerations: Taints that it may have.
        requests: How much of each resource.
        names: Where each of these is set, by what it is called in a profile of the settings.
    """

    labels: Mapping[str, str]
    tolerations: tuple[Toleration, ...]
    requests: Mapping[str, Decimal]
    names: Mapping[str, str]

    def named(self, what: str) -> str:
        """Return where something is set."""
        return self.names.get(what) or f"{self.names['']}.{what}"


@dataclass(frozen=True)
class Fit:
    """What keeps a pod from a node: that it is of another pool, and what it has too little of."""

    node: str
    elsewhere: tuple[str, ...]
    short: tuple[str, ...]

    @property
    def obstacles(self) -> tuple[str, ...]:
        """All of it."""
        return self.elsewhere + self.short


def preflight(config: RunConfig, settings: Settings, console: Console) -> None:
    """Look at everything and show it.

    Args:
        config: Of the run.
        settings: Of the cluster.
        console: Where findings are shown, as they come.

    Raises:
        InputError: The config names what only this machine has.
        NoKubernetes: No Kubernetes API can be reached from here.
        AssayError: Something is missing.
    """
    missing = []
    for finding in findings(config, settings):
        mark, style = finding.state.value
        said = escape(f"{finding.subject}: {finding.said}")
        console.print(f"[{style}]{mark}[/{style}] {said}", highlight=False, soft_wrap=True)
        if finding.state is State.MISSING:
            missing.append(finding.subject)
    if missing:
        raise AssayError(
            f"preflight: not as the run needs it: {'; '.join(dict.fromkeys(missing))}. What to do is said above; "
            "`assay submit --no-preflight` starts the run all the same."
        )


def findings(config: RunConfig, settings: Settings) -> Iterator[Finding]:
    """Yield what a look at each thing shows; see `preflight`."""
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    config = for_cluster(config, settings)
    core = _reached(settings)
    yield Finding("Kubernetes", State.THERE, f"{core.api_client.configuration.host} answers")
    yield from engine.answers(settings)
    looks = {
        f"namespace {settings.namespace}": _namespace,
        f"service account {settings.service_account}": _service_account,
        "node pools": _node_pools,
        "quota": _quotas,
        "images": _images,
        **engine.LOOKS,
    }
    for subject, look in looks.items():
        try:
            yield from look(subject, core, config, settings)
        except ApiException as error:
            if error.status == 403:
                yield Finding(subject, State.NOTE, f"may not be looked at ({message(error)}). {ASK_FOR_THE_ROLE}")
            else:
                said = f"Kubernetes refused with {error.status} ({message(error)}). Try again."
                yield Finding(subject, State.MISSING, said)
        except HTTPError as error:
            yield Finding(subject, State.MISSING, f"Kubernetes does not answer any more ({cause(error)}). Try again.")
    yield from _storage(config, settings)


def stages(config: RunConfig, settings: Settings) -> list[dict[str, int]]:
    """Return how many pods run at the same time, by step, for each stage of a run; search workers are beside theirs."""
    folds = config.validate.folds
    candidates = dict.fromkeys(enabled_candidates(config), min(folds, settings.parallel_folds) or 1)
    if not config.augment.chooses:
        candidates["augment"] = 1
    if engine.worker_pods(config):
        candidates[WORKERS] = engine.worker_pods(config)
    shards = settings.parallel_shards if config.data.shards == "auto" else config.data.shards
    together = {"preprocess": min(shards, settings.parallel_shards)}
    return [together, candidates, *({step: 1} for step in _steps(config) if step not in together | candidates)]


def most_at_once(config: RunConfig, settings: Settings) -> dict[str, Decimal]:
    """Return how much of each resource, and how many pods, a run has at the same time at most."""
    most: dict[str, Decimal] = {}
    for stage in stages(config, settings):
        total = {"pods": Decimal(sum(stage.values()))}
        for step, pods in stage.items():
            if step == WORKERS:
                of_pod = worker_ask(settings).requests
            else:
                waits = step == "search" and config.search.chief_waits
                of_pod = requests(settings.chief() if waits else settings.profile(step), settings.accelerator)
            for resource, amount in of_pod.items():
                total[resource] = total.get(resource, Decimal()) + pods * amount
        most |= {resource: max(amount, most.get(resource, amount)) for resource, amount in total.items()}
    return most


def requests(profile: Profile, accelerator: Accelerator) -> Mapping[str, Decimal]:
    """Return what a pod of a profile asks for, by resource, as placement.py puts it on a step."""
    from kubernetes.utils import parse_quantity

    wanted = {"cpu": profile.cpu, "memory": profile.memory}
    if profile.accelerator:
        wanted[accelerator.type] = accelerator.count
    return {resource: parse_quantity(amount) for resource, amount in wanted.items()}


def step_ask(name: str, settings: Settings, given: Profile | None = None) -> Ask:
    """Return what a pod of a profile, or of one made of it, asks for, as placement.py puts it on a step."""
    profile = given or settings.profiles[name]
    return Ask(
        profile.node_labels,
        profile.accepted_taints,
        requests(profile, settings.accelerator),
        {"": f"profiles.{name}"},
    )


def worker_ask(settings: Settings) -> Ask:
    """Return what a search worker asks for: what its step does, but for what ``ASSAY_SEARCH_WORKER_POD`` replaces.

    Raises:
        InputError: The variable holds no JSON object of what may be replaced.
    """
    from kubernetes.utils import parse_quantity

    settings.profile("search")  # says it where the placement names a profile that does not exist
    ask = step_ask(settings.placement.get("search", "cpu"), settings)
    given = worker_profile(settings.environment.get(PROFILE_VARIABLE, ""))
    names = dict(ask.names)
    labels, tolerations, amounts = ask.labels, ask.tolerations, ask.requests
    if "nodeSelector" in given:
        labels, names["node_selector"] = given["nodeSelector"] or {}, f"nodeSelector of {PROFILE_VARIABLE}"
    if "tolerations" in given:
        found = given["tolerations"] or ()
        # Without an effect every effect is meant; without a key, every taint.
        tolerations = tuple(
            Toleration.model_construct(**{"key": "", "effect": "", "value": None, "operator": "Equal", **one})
            for one in found
        )
        names["tolerations"] = f"tolerations of {PROFILE_VARIABLE}"
    if "resources" in given:
        # What is limited and not requested is requested as it is limited.
        wanted = {**(given["resources"].get("limits") or {}), **(given["resources"].get("requests") or {})}
        amounts = {resource: parse_quantity(str(amount)) for resource, amount in wanted.items()}
        names |= dict.fromkeys(["cpu", "memory", "accelerator.count"], f"resources of {PROFILE_VARIABLE}")
    return Ask(labels, tolerations, amounts, names)


def _steps(config: RunConfig) -> tuple[str, ...]:
    return (*enabled_steps(config), "notify")


def _reached(settings: Settings) -> Any:
    """Return the API of a cluster that has answered."""
    from kubernetes import client
    from urllib3.exceptions import HTTPError

    api = kubernetes_api(settings)
    host = api.configuration.host
    try:
        client.VersionApi(api).get_code(_request_timeout=SECONDS)
    except HTTPError as error:
        raise NoKubernetes(
            f"{host}: the Kubernetes API does not answer ({cause(error)}). Is the cluster up, and is it the one that "
            "is meant (kubectl config current-context)?"
        ) from error
    except client.ApiException as error:
        if error.status == 401:
            raise NoKubernetes(
                f"{host}: not signed in, or the sign-in has expired ({message(error)}). Get credentials anew: "
                "gcloud auth login, then gcloud container clusters get-credentials."
            ) from error
    return client.CoreV1Api(api)


def _find(read: Any, *names: str) -> Any | None:
    """Return an object, or None where there is none of that name."""
    from kubernetes.client import ApiException

    try:
        return read(*names, _request_timeout=SECONDS)
    except ApiException as error:
        if error.status != 404:
            raise
        return None


def _images(subject: str, core: Any, config: RunConfig, settings: Settings) -> Iterator[Finding]:
    for image in sorted({settings.image(settings.profile(step)) for step in _steps(config)}):
        if commit := differs_from(image):
            said = (
                f"{image} holds the steps of commit {commit}, which differ from those of this checkout: a step may not "
                "know what it is given. Make images of this commit (`make images push`; `load` on kind), or check that "
                "one out."
            )
            yield Finding(subject, State.NOTE, said)
        else:
            yield Finding(subject, State.THERE, image)


def _namespace(subject: str, core: Any, config: RunConfig, settings: Settings) -> Iterator[Finding]:
    if _find(core.read_namespace, settings.namespace) is not None:
        yield Finding(subject, State.THERE, "is there")
        return
    way_out = "Install Kubeflow Pipelines, `manifests/kubeflow.sh gke` (or kind), or correct the settings' namespace."
    yield Finding(subject, State.MISSING, f"is not there. {way_out}")


def _service_account(subject: str, core: Any, config: RunConfig, settings: Settings) -> Iterator[Finding]:
    if _find(core.read_namespaced_service_account, settings.service_account, settings.namespace) is not None:
        yield Finding(subject, State.THERE, "is there")
        return
    way_out = "Make it, `kubectl apply -k manifests/overlays/gke` (or kind), or correct the settings' service_account."
    yield Finding(subject, State.MISSING, f"is not in the namespace {settings.namespace}. {way_out}")


def _node_pools(subject: str, core: Any, config: RunConfig, settings: Settings) -> Iterator[Finding]:
    """Yield for each profile whether some node takes a pod of it, once that node is empty."""
    nodes = core.list_node(_request_timeout=SECONDS).items
    users: dict[str, list[str]] = {}
    for step in _steps(config):
        settings.profile(step)  # says it where the placement names a profile that does not exist
        users.setdefault(settings.placement.get(step, "cpu"), []).append(step)
    asks = {f"profile {name} ({', '.join(steps)})": step_ask(name, settings) for name, steps in users.items()}
    if engine.worker_pods(config):
        workers = worker_ask(settings)
        # Else they ask for what their step asks for.
        if len(workers.names) > 1:
            asks[WORKERS] = workers
        if config.search.chief_waits:
            name = settings.placement["search_chief"]
            settings.profile("search_chief")
            asks[f"profile {name} (search, which looks after them)"] = step_ask(name, settings, settings.chief())
    for subject, ask in asks.items():
        yield _place_for(subject, ask, nodes, core, settings)


def _place_for(subject: str, ask: Ask, nodes: list[Any], core: Any, settings: Settings) -> Finding:
    """Return whether some node takes a pod, once that node is empty."""
    fits = [fit(node, ask, settings.accelerator) for node in nodes]
    takers = [fit.node for fit in fits if not fit.obstacles]
    if takers:
        more = f" and {len(takers) - 1} more" if len(takers) > 1 else ""
        return Finding(subject, State.THERE, f"fits node {takers[0]}{more}")
    # What the nodes of a named pool lack, a further one of it would lack too; else another pool may grow.
    pool_is_seen = ask.labels and any(not fit.elsewhere for fit in fits)
    growth = "" if pool_is_seen else _growth(core)
    if growth:
        labels = ", ".join(f"{key}={value}" for key, value in ask.labels.items())
        return Finding(subject, State.NOTE, f"no node{f' with {labels}' * bool(labels)} takes it now. {growth}")
    nearest = min(fits, key=lambda fit: (len(fit.obstacles), len(fit.elsewhere)), default=None)
    why = f"Nearest: node {nearest.node} {'; '.join(nearest.obstacles)}." if nearest else "There are no nodes."
    return Finding(subject, State.MISSING, f"no node takes it. {why}")


def _growth(core: Any) -> str:
    """Return what may bring a node where there is none; empty: nothing does."""
    from kubernetes.client import ApiException

    try:
        found = _find(core.read_namespaced_config_map, *AUTOSCALER)
    except ApiException as error:
        if error.status != 403:
            raise
        return f"Whether an autoscaler makes one may not be looked at. {ASK_FOR_THE_ROLE}"
    return "" if found is None else "The autoscaler makes one if a node pool is like that: the first pod waits for it."


def fit(node: Any, ask: Ask, accelerator: Accelerator) -> Fit:
    """Return what keeps a pod from a node that runs nothing else.

    Args:
        node: As Kubernetes's client gives it.
        ask: What the pod asks for.
        accelerator: Of the run.
    """
    from kubernetes.utils import parse_quantity

    own, labels = node.metadata.name, node.metadata.labels or {}
    elsewhere = []
    for key, value in ask.labels.items():
        if labels.get(key) != value:
            way_out = f"kubectl label node {own} {key}={value}, or correct {ask.named('node_selector')}"
            if key in SPOT_LABEL and "node_selector" not in ask.names:
                way_out = f"make a pool of spot nodes, or set {ask.named('spot')} to false"
            elsewhere.append(f"lacks the label {key}={value}: {way_out}")
    for taint in node.spec.taints or ():
        if taint.effect == "PreferNoSchedule" or any(_tolerates(accepted, taint) for accepted in ask.tolerations):
            continue
        shown = f"{taint.key}{f'={taint.value}' if taint.value else ''}:{taint.effect}"
        if taint.key.startswith("node.kubernetes.io/"):
            elsewhere.append(f"takes no pods now ({shown}): kubectl describe node {own}")
        else:
            elsewhere.append(f"has the taint {shown}: add it to {ask.named('tolerations')}")
    short = []
    for resource, wanted in ask.requests.items():
        offer = parse_quantity((node.status.allocatable or {}).get(resource, "0"))
        if offer >= wanted:
            continue
        if resource != accelerator.type:
            way_out = f"lower {ask.named(resource)}, or take larger machines"
        elif offer:
            way_out = (
                f"lower {ask.names.get('accelerator.count', 'accelerator.count')}, or take machines with more of them"
            )
        else:
            way_out = "install its driver and device plugin there"
        short.append(f"offers {resource} {_shown(resource, offer)}, wanted {_shown(resource, wanted)}: {way_out}")
    return Fit(own, tuple(elsewhere), tuple(short))


def _tolerates(toleration: Toleration, taint: Any) -> bool:
    if toleration.key and toleration.key != taint.key:
        return False
    if toleration.effect and toleration.effect != taint.effect:
        return False
    return toleration.operator == "Exists" or (toleration.value or "") == (taint.value or "")


def _shown(resource: str, amount: Decimal) -> str:
    return f"{amount / 2**30:.1f}Gi" if "memory" in resource else f"{amount.normalize():f}"


def _quotas(subject: str, core: Any, config: RunConfig, settings: Settings) -> Iterator[Finding]:
    """Yield for each quota of the namespace whether it leaves room for the run."""
    from kubernetes.utils import parse_quantity

    wanted = {
        key: amount
        for resource, amount in most_at_once(config, settings).items()
        for key in QUOTA_NAMES.get(resource, (f"requests.{resource}",))
    }
    for quota in core.list_namespaced_resource_quota(settings.namespace, _request_timeout=SECONDS).items:
        # Whether one with a scope counts these pods depends on more than is known here.
        if quota.spec.scopes or quota.spec.scope_selector:
            continue
        name, used = quota.metadata.name, (quota.status and quota.status.used) or {}
        exceeded = []
        for key in wanted.keys() & (quota.spec.hard or {}).keys():
            most, taken = parse_quantity(quota.spec.hard[key]), parse_quantity(used.get(key, "0"))
            if taken + wanted[key] <= most:
                continue
            ways_out = ["wait for other runs to end"] if wanted[key] <= most else []
            ways_out += ["lower search.workers"] if config.search.enabled and config.search.workers > 1 else []
            ways_out += [f"raise it, kubectl -n {settings.namespace} edit resourcequota {name}"]
            exceeded.append(
                f"the run needs {key} {_shown(key, wanted[key])} at once, and {_shown(key, taken)} of "
                f"{_shown(key, most)} are in use: {', or '.join(ways_out)}."
            )
        for said in sorted(exceeded):
            yield Finding(f"quota {name}", State.MISSING, said)
        if not exceeded:
            yield Finding(f"quota {name}", State.THERE, "leaves room for the run")


def _storage(config: RunConfig, settings: Settings) -> Iterator[Finding]:
    """Yield whether the storage takes an object and the source has one, for whoever is signed in here."""
    from assay.storage.gcs import GCSStore
    from assay.storage.open import is_remote

    stand_in = settings.environment.get(EMULATOR_VARIABLE)
    if stand_in and EMULATOR_VARIABLE not in os.environ:
        said = f"was not looked at: pods are sent to {stand_in}. Forward its port and set {EMULATOR_VARIABLE} here."
        yield Finding("storage", State.NOTE, said)
        return
    whose = "with this machine's credentials, not the pods'"
    root, source = config.storage.root, config.data.source
    try:
        store = GCSStore(root, patience_seconds=SECONDS)
        name = f"preflight/{uuid.uuid4().hex}"
        store.write_bytes(name, b"may be deleted")
        try:
            store.read_bytes(name)
        finally:
            store.delete(name)
        yield Finding("storage", State.THERE, f"{root}: written, read and deleted ({whose})")
    except AssayError as error:
        yield Finding("storage", State.MISSING, f"{error} (Tried {whose}.)")
    if not is_remote(source):
        return
    try:
        if not GCSStore(source, patience_seconds=SECONDS).is_empty():
            yield Finding("source", State.THERE, f"{source}: is there ({whose})")
        else:
            way_out = f"Correct data.source, or copy the images: gcloud storage cp -r images {source}"
            yield Finding("source", State.MISSING, f"{source}: nothing is stored here. {way_out}")
    except AssayError as error:
        yield Finding("source", State.MISSING, f"{error} (Tried {whose}.)")
