"""Start a run on the cluster: the config as a cluster can read it, the graph as a version, the run's name."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.config import RunConfig
from assay.errors import InputError
from assay.storage.open import is_remote
from pipelines.cluster.client import Cluster, PipelineVersion
from pipelines.graphs.order import enabled_candidates
from pipelines.settings import Settings

if TYPE_CHECKING:
    from assay.sweep.spec import Sweep


@dataclass(frozen=True)
class Submitted:
    """A run that the server has accepted."""

    run_id: str
    name: str
    link: str
    version: PipelineVersion


def submit(
    cluster: Cluster,
    config: RunConfig,
    *,
    overrides: list[str] | None = None,
    skip_unchanged: bool = False,
    again: bool = False,
) -> Submitted:
    """Start a run.

    Args:
        cluster: Where.
        config: The resolved config.
        overrides: What was changed on the command line; the run is called by it.
        skip_unchanged: End early where data, config and code are those of an earlier training.
        again: Make everything anew, whatever the cluster's cache holds.

    Raises:
        InputError: The config names what only this machine has, or an image whose tag can change.
        AssayError: The server refuses or does not answer.
    """
    import kfp_server_api

    config = for_cluster(config, cluster.settings)
    version = upload_graph(cluster, config, skip_unchanged=skip_unchanged)
    name = title(config, overrides, datetime.now(UTC))
    wanted = kfp_server_api.V2beta1Run(
        display_name=name,
        description=describe(config),
        experiment_id=cluster.experiment(),
        pipeline_version_reference=reference(version),
        runtime_config=kfp_server_api.V2beta1RuntimeConfig(parameters=parameters(config, again=again)),
        service_account=cluster.settings.service_account,
    )
    # The server has no labels on runs: name and description carry what one looks for.
    run = cluster.change(cluster.kfp.runs.run_service_create_run, run=wanted)
    return Submitted(str(run.run_id), name, cluster.run_link(run.run_id), version)


def submit_sweep(cluster: Cluster, sweep: Sweep, *, again: bool = False) -> Submitted:
    """Start a sweep; its tables and best row land in storage, below ``sweeps/tables/<sweep>/<run>``.

    Args:
        cluster: Where.
        sweep: What is run.
        again: As in `submit`.

    Raises:
        InputError: As in `submit`.
        AssayError: As in `submit`.
    """
    import kfp_server_api

    from assay.sweep.spec import resolve
    from pipelines.graphs.sweep import PIPELINE_NAME, compile_sweep_pipeline, sweep_arguments

    base = for_cluster(sweep.base, cluster.settings)
    placed = resolve(sweep.spec, base, sweep.spec.name)
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "sweep.yaml"
        compile_sweep_pipeline(graph, cluster.settings)
        version = cluster.upload(graph, PIPELINE_NAME, "any sweep")
    now = datetime.now(UTC)
    name = f"{sweep.spec.name} {now:%m-%d %H:%M} sweep of {len(sweep.rows)} rows"
    wanted = kfp_server_api.V2beta1Run(
        display_name=name,
        description=describe(base),
        experiment_id=cluster.experiment(),
        pipeline_version_reference=reference(version),
        runtime_config=kfp_server_api.V2beta1RuntimeConfig(
            parameters=sweep_arguments(placed, epoch=f"{now:%Y%m%d-%H%M%S}" if again else "")
        ),
        service_account=cluster.settings.service_account,
    )
    run = cluster.change(cluster.kfp.runs.run_service_create_run, run=wanted)
    return Submitted(str(run.run_id), name, cluster.run_link(run.run_id), version)


def for_cluster(config: RunConfig, settings: Settings) -> RunConfig:
    """Return the config with the settings' storage, once a run of it can begin and needs nothing of this machine alone.

    Raises:
        InputError: A path that pods cannot see, or what a step would refuse.
    """
    from assay.check import require_config

    root = settings.storage_root or config.storage.root
    if not is_remote(root):
        raise InputError(
            f"storage.root: pods cannot see a folder of this machine. Received: {root}. Set storage_root in the "
            "settings, or ASSAY_STORAGE_ROOT=gs://bucket/prefix."
        )
    source = config.data.source
    if not is_remote(source) and "://" not in source:
        raise InputError(
            f"data.source: pods cannot see a folder of this machine. Received: {source}. Copy it, "
            f"`gcloud storage cp -r {source} gs://bucket/prefix`, and give DATA=gs://bucket/prefix."
        )
    weights = config.finetune.weights
    if weights not in ("imagenet", "none") and not is_remote(weights):
        raise InputError(
            f"finetune.weights: pods cannot see a file of this machine. Received: {weights}. "
            "Give imagenet, which is in the image, or copy it and give its gs:// URI."
        )
    config = config.model_copy(update={"storage": config.storage.model_copy(update={"root": root})})
    if config.validate.folds:
        # Pods of its own could not see a fold's data, which lie in the pod of its task.
        config = config.model_copy(update={"search": config.search.model_copy(update={"placement": "processes"})})
    require_config(config, here=False)
    return config


def upload_graph(cluster: Cluster, config: RunConfig, *, skip_unchanged: bool = False) -> PipelineVersion:
    """Compile the graph of a config and make sure that the server has it."""
    from assay.data.parts import parts_of
    from pipelines.graphs.training import PIPELINE_NAME, compile_training_pipeline

    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "training.yaml"
        candidates, shards = enabled_candidates(config), parts_of(config.data)
        compile_training_pipeline(
            candidates,
            graph,
            cluster.settings,
            shards,
            folds=config.validate.folds,
            skip_unchanged=skip_unchanged,
            policy_chosen=config.augment.chooses,
            chief_waits=config.search.chief_waits,
        )
        return cluster.upload(graph, PIPELINE_NAME, describe(config))


def reference(version: PipelineVersion) -> Any:
    """Return what names a version in a run."""
    import kfp_server_api

    return kfp_server_api.V2beta1PipelineVersionReference(
        pipeline_id=version.pipeline_id, pipeline_version_id=version.version_id
    )


def parameters(config: RunConfig, *, again: bool = False) -> dict[str, Any]:
    """Return the values of the graph's parameters; ``again``: unlike those of any run before, so nothing is reused."""
    from pipelines.graphs.training import pipeline_arguments

    return pipeline_arguments(config, epoch=f"{datetime.now(UTC):%Y%m%d-%H%M%S}" if again else "")


def title(config: RunConfig, overrides: list[str] | None, at: datetime) -> str:
    """Return the name of a run: lists of runs show names alone, and cut them.

    What tells it from the runs around it comes first: what was changed for it, or else when it was started.

    Args:
        config: Of the run.
        overrides: What was changed on the command line.
        at: Its start.
    """
    started = f"{at:%m-%d %H:%M}"
    changed = [override for override in overrides or () if not override.startswith("name=")]
    if changed:
        return f"{','.join(changed)[:120]} {config.name} {started}"
    return f"{config.name} {started} {'+'.join(enabled_candidates(config)) or 'no candidate'}"


def describe(config: RunConfig) -> str:
    """Return what a run is of."""
    from assay.hashing import code_version, hash_json

    digest = hash_json(config.model_dump(mode="json"))[:12]
    return f"source {config.data.source}, seed {config.seed}, config {digest}, code {code_version()}"
