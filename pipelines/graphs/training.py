"""The training graph: ingest, preprocess, augment, three candidates, evaluate, promote.

It is as flat as can be: each layer (a condition, an exit handler, a loop) costs a pod of Kubeflow's before its first
step, and hides its steps one layer deeper in Kubeflow's page of a run.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kfp import compiler, dsl

from assay.config import CANDIDATES, SCHEMA_VERSION, RunConfig, read_brief, write_brief
from assay.errors import InputError
from assay.hashing import code_version
from assay.registry.trained import config_fingerprint
from components.augment.component import augment as augment_step
from components.baseline.component import baseline as baseline_step
from components.evaluate.component import evaluate as evaluate_step
from components.evaluate_folds.component import evaluate_folds
from components.finetune.component import finetune as finetune_step
from components.ingest.component import ingest as ingest_step
from components.preprocess.component import merge_shards, preprocess_shard
from components.preprocess.component import preprocess as preprocess_step
from components.promote.component import promote as promote_step
from components.search.component import search as search_step
from components.train_fold.component import train_fold
from pipelines.graphs.placement import pipeline_config, place
from pipelines.graphs.telling import told
from pipelines.settings import Settings

PIPELINE_NAME = "assay-training"
# Sections of the config that are parameters of their own, by the names of both.
SECTIONS = ("data", "augment", *CANDIDATES, "evaluate", "validate", "promote")
# Kubeflow shows parameters in the order of their names: what is no property of the experiment comes last.
SYSTEM = "system_"


def build_training_pipeline(
    candidates: tuple[str, ...],
    settings: Settings | None = None,
    shards: int = 1,
    image: str | None = None,
    *,
    folds: int = 0,
    skip_unchanged: bool = False,
    policy_chosen: bool = False,
    chief_waits: bool = False,
) -> Any:
    """Build the graph for a set of candidates.

    What a run trains is known before it starts, so the graph holds just that: a branch at run time would
    need ``dsl.OneOf`` on artifacts, which the local runner does not have.

    Args:
        candidates: Of ``baseline``, ``search`` and ``finetune``.
        settings: Where each step runs on a cluster; None: on this machine. The steps and their inputs are
            the same. A cluster's graph has an exit handler where the settings name a webhook, which is told.
        shards: Preprocess so many parts of the source in parallel, then merge them.
        image: Without settings: what every step runs in, where the runner has containers.
        folds: Train each candidate for so many folds, a task each, in a loop; 0: once.
        skip_unchanged: End after ingest where data, config and code are those of an earlier training.
        policy_chosen: Augment decides on the policy (`assay.config.AugmentConfig.chooses`), so candidates wait for it;
            else it runs beside them.
        chief_waits: The step of the search only looks after worker pods (`assay.config.SearchConfig.chief_waits`): it
            asks for no accelerator.

    Returns:
        A Kubeflow pipeline whose parameters are those of `pipeline_arguments`.
    """
    limits = settings or Settings()
    components = {"baseline": baseline_step, "search": search_step, "finetune": finetune_step}

    @dsl.pipeline(
        name=PIPELINE_NAME,
        description="From labelled images to a champion model that one can defend.",
        pipeline_config=pipeline_config(limits),
    )
    def training(
        name: str,
        system_storage_root: str,
        system_code_version: str,
        system_config: str,
        seed: int = 0,
        data: str = "",
        augment: str = "",
        baseline: str = "",
        search: str = "",
        finetune: str = "",
        evaluate: str = "",
        validate: str = "",
        promote: str = "",
        system_policy: str = "",
        system_runtime: str = "",
        system_run_id: str = "",
        system_accelerator_type: str = limits.accelerator.type,
        system_accelerator_count: str = limits.accelerator.count,
    ) -> None:
        root, runtime = system_storage_root, system_runtime
        sections = {"baseline": baseline, "search": search, "finetune": finetune}

        def placed(step: str, task: dsl.PipelineTask) -> dsl.PipelineTask:
            if settings is not None:
                chief = chief_waits and step == "search" and not folds
                place(task, step, settings, system_accelerator_type, system_accelerator_count, chief=chief)
            elif image is not None:
                task.set_container_image(image)
            return task

        def preprocessed(snapshot: Any, code: Any) -> Any:
            shared = {"data": data, "snapshot": snapshot, "seed": seed, "code_version": code}
            if folds:
                shared["folds"] = folds
            if shards == 1:
                return placed("preprocess", preprocess_step(runtime=runtime, **shared)).outputs["dataset"]
            with dsl.ParallelFor(list(range(shards)), parallelism=limits.parallel_shards, name="shards") as index:
                part = preprocess_shard(index=index, count=shards, runtime=runtime, storage_root=root, **shared)
                placed("preprocess", part)
            # Addresses, not artifacts: Kubeflow reads a list of artifacts from the bucket of its first alone.
            parts = dsl.Collected(part.outputs["Output"])
            return placed("preprocess", merge_shards(shards=parts, storage_root=root, code_version=code)).outputs[
                "dataset"
            ]

        def trained(candidate: str, shown: Any, common: Mapping[str, Any]) -> Any:
            decided = {"decided": shown.outputs["policy"]} if policy_chosen else {}
            given = {"config": sections[candidate], "storage_root": root, "policy": system_policy, **decided}
            task = placed(candidate, components[candidate](**given, **common))
            if settings is None:
                # One step at a time anyway, and so in the order in which they are shown.
                task.after(shown)
            return task.outputs["model"]

        def trained_by_fold(candidate: str, shown: Any, common: Mapping[str, Any]) -> Any:
            # Here one after the other: each takes the whole machine.
            at_once = 1 if settings is None else settings.parallel_folds
            given = {"config": sections[candidate], "storage_root": root, "policy": system_policy}
            with dsl.ParallelFor(list(range(folds)), parallelism=at_once, name=f"{candidate}-folds") as fold:
                task = placed(candidate, train_fold(candidate=candidate, fold=fold, **given, **common))
                if settings is None:
                    task.after(shown)
            # Addresses, not artifacts: Kubeflow reads a list of artifacts wrongly where only some come from its cache.
            return dsl.Collected(task.outputs["Output"])

        def train_and_judge(snapshot: Any, code: Any) -> None:
            dataset = preprocessed(snapshot, code)
            common = {"runtime": runtime, "seed": seed, "code_version": code, "dataset": dataset}
            shown = placed("augment", augment_step(config=augment, storage_root=root, **common))
            judging = {"config": evaluate, "name": name, "storage_root": root, **common}
            if folds:
                judged = evaluate_folds(**judging, **{one: trained_by_fold(one, shown, common) for one in candidates})
            else:
                judged = evaluate_step(**judging, **{one: trained(one, shown, common) for one in candidates})
            evaluation = placed("evaluate", judged)
            last = promote_step(
                config=promote,
                runtime=runtime,
                seed=seed,
                name=name,
                storage_root=root,
                # The local runner does not know the placeholder.
                run_id=system_run_id if settings is None else dsl.PIPELINE_JOB_ID_PLACEHOLDER,
                config_fingerprint=system_config,
                dataset=dataset,
                evaluation=evaluation.outputs["evaluation"],
            )
            # Never cached: the champion may have changed since. So the run's id may be among its inputs.
            placed("promote", last).set_caching_options(False)

        def whole_run() -> None:
            found = ingest_step(
                data=data,
                storage_root=root,
                name=name,
                seed=seed,
                config_fingerprint=system_config,
                skip_unchanged=skip_unchanged,
                code_version=system_code_version,
                **({"folds": folds} if folds else {}),
            )
            # Never cached: only a look at the source tells whether it has changed.
            placed("ingest", found).set_caching_options(False)
            snapshot, code = found.outputs["snapshot"], found.outputs["reused_from"]
            if not skip_unchanged:
                train_and_judge(snapshot, code)
                return
            with dsl.If(snapshot != "", name="something-changed"):
                train_and_judge(snapshot, code)

        with told(name, "training", settings, placed):
            whole_run()

    return training


def compile_training_pipeline(
    candidates: tuple[str, ...],
    output: Path,
    settings: Settings | None = None,
    shards: int = 1,
    *,
    folds: int = 0,
    skip_unchanged: bool = False,
    policy_chosen: bool = False,
    chief_waits: bool = False,
) -> None:
    """Write the graph as Kubeflow's IR YAML.

    Args:
        candidates: As in `build_training_pipeline`.
        output: The file; its folder is made.
        settings: As in `build_training_pipeline`.
        shards: As in `build_training_pipeline`.
        folds: As in `build_training_pipeline`.
        skip_unchanged: As in `build_training_pipeline`.
        policy_chosen: As in `build_training_pipeline`.
        chief_waits: As in `build_training_pipeline`.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    pipeline = build_training_pipeline(
        candidates,
        settings,
        shards,
        folds=folds,
        skip_unchanged=skip_unchanged,
        policy_chosen=policy_chosen,
        chief_waits=chief_waits,
    )
    compiler.Compiler().compile(pipeline, str(output))


def pipeline_arguments(config: RunConfig, *, epoch: str = "") -> dict[str, Any]:
    """Return the values of the graph's parameters for a config.

    A section travels as one readable line of what differs from its defaults (`assay.config.write_brief`), one that
    differs in nothing not at all: Kubeflow's page that compares runs shows parameters as they are. Kubeflow's own
    structs would turn integers into floats, and a step whose section has not changed keeps its place in the cache.

    Args:
        config: The resolved config.
        epoch: Anything new here makes every step run again: it is among the inputs of all that are cached.
    """
    if "'" in config.storage.root:
        raise InputError(
            f"storage.root: a quotation mark cannot stand in the path of the object storage. "
            f"Received: {config.storage.root}. Choose another folder."
        )
    sections = {name: write_brief(getattr(config, name)) for name in SECTIONS}
    # The augmentation alone: a candidate is not trained again for another preview.
    system = {"policy": write_brief(config.augment.policy), "runtime": write_brief(config.runtime)}
    return {
        "name": config.name,
        **({"seed": config.seed} if config.seed else {}),
        **{name: text for name, text in sections.items() if text},
        **{f"{SYSTEM}{name}": text for name, text in system.items() if text},
        f"{SYSTEM}storage_root": config.storage.root,
        f"{SYSTEM}code_version": f"{code_version()} {epoch}".rstrip(),
        f"{SYSTEM}config": config_fingerprint(config),
    }


def config_of(arguments: Mapping[str, Any]) -> RunConfig:
    """Return the config that `pipeline_arguments` made parameters of; defaults are those of this code.

    Raises:
        InputError: They are not of this graph, or of one that another version of this code made.
    """
    defaults = RunConfig(version=SCHEMA_VERSION)
    values = {
        name: read_brief(type(getattr(defaults, name)), str(arguments.get(given, "")), name)
        for name, given in {**{name: name for name in SECTIONS}, "runtime": f"{SYSTEM}runtime"}.items()
    }
    try:
        return RunConfig(
            version=SCHEMA_VERSION,
            name=arguments["name"],
            # Numbers come back from Kubeflow as floats.
            seed=int(arguments.get("seed", 0)),
            storage={"root": arguments[f"{SYSTEM}storage_root"]},
            **values,
        )
    except KeyError as error:
        raise InputError(f"no run of this pipeline: its parameter {error.args[0]} is missing.") from error
