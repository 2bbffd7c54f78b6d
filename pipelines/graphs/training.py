"""The training graph: ingest, preprocess, augment, three candidates, evaluate, promote."""

import json
from pathlib import Path
from typing import Any

from kfp import compiler, dsl

from assay.config import CANDIDATES, RunConfig
from assay.errors import InputError
from assay.hashing import code_version
from components.augment.component import augment
from components.baseline.component import baseline
from components.evaluate.component import evaluate
from components.finetune.component import finetune
from components.ingest.component import ingest
from components.notify.component import notify
from components.preprocess.component import merge_shards, preprocess, preprocess_shard
from components.promote.component import promote
from components.search.component import search
from pipelines.graphs.placement import place
from pipelines.settings import Settings

PIPELINE_NAME = "assay-training"
COMPONENTS = {"baseline": baseline, "search": search, "finetune": finetune}


def build_training_pipeline(
    candidates: tuple[str, ...], settings: Settings | None = None, shards: int = 1, image: str | None = None
) -> Any:
    """Build the graph for a set of candidates.

    What a run trains is known before it starts, so the graph holds just that: a branch at run time would
    need ``dsl.OneOf`` on artifacts, which the local runner does not have.

    Args:
        candidates: Of ``baseline``, ``search`` and ``finetune``.
        settings: Where each step runs on a cluster; None: on this machine. The steps and their inputs are
            the same. A cluster's graph also has an exit handler, whose body the local runner would skip
            without a word as soon as it holds a condition.
        shards: Preprocess so many parts of the source in parallel, then merge them.
        image: Without settings: what every step runs in, where the runner has containers.

    Returns:
        A Kubeflow pipeline whose parameters are those of `pipeline_arguments`.
    """
    limits = settings or Settings()

    @dsl.pipeline(
        name=PIPELINE_NAME,
        description="From labelled images to a champion model that one can defend.",
        pipeline_config=dsl.PipelineConfig(
            ttl_seconds_after_finished=round(limits.keep_finished_hours * 3600),
            active_deadline_seconds=round(limits.run_deadline_hours * 3600),
        ),
    )
    def training(
        name: str,
        seed: int,
        storage_root: str,
        data: str,
        augment_config: str,
        baseline_config: str,
        search_config: str,
        finetune_config: str,
        evaluate_config: str,
        promote_config: str,
        runtime: str,
        code_version: str,
        skip_unchanged: bool = False,
        run_id: str = "",
        accelerator_type: str = limits.accelerator.type,
        accelerator_count: str = limits.accelerator.count,
    ) -> None:
        def placed(step: str, task: dsl.PipelineTask) -> dsl.PipelineTask:
            if settings is not None:
                place(task, step, settings, accelerator_type, accelerator_count)
            elif image is not None:
                task.set_container_image(image)
            return task

        def preprocessed(snapshot: Any) -> Any:
            shared = {"data": data, "snapshot": snapshot, "seed": seed, "code_version": code_version}
            if shards == 1:
                return placed("preprocess", preprocess(runtime=runtime, **shared)).outputs["dataset"]
            with dsl.ParallelFor(list(range(shards)), parallelism=limits.parallel_shards, name="shards") as index:
                part = placed("preprocess", preprocess_shard(index=index, count=shards, runtime=runtime, **shared))
            parts = dsl.Collected(part.outputs["shard"])
            return placed("preprocess", merge_shards(shards=parts, code_version=code_version)).outputs["dataset"]

        def train_and_judge(snapshot: Any) -> None:
            dataset = preprocessed(snapshot)
            common = {"runtime": runtime, "seed": seed, "code_version": code_version, "dataset": dataset}
            policy = placed("augment", augment(config=augment_config, **common)).outputs["policy"]
            configs = {"baseline": baseline_config, "search": search_config, "finetune": finetune_config}
            models = {
                candidate: placed(
                    candidate,
                    COMPONENTS[candidate](
                        config=configs[candidate], storage_root=storage_root, policy=policy, **common
                    ),
                ).outputs["model"]
                for candidate in candidates
            }
            evaluation = placed("evaluate", evaluate(config=evaluate_config, **common, **models))
            decided = promote(
                config=promote_config,
                runtime=runtime,
                seed=seed,
                name=name,
                storage_root=storage_root,
                # The local runner does not know the placeholder.
                run_id=run_id if settings is None else dsl.PIPELINE_JOB_ID_PLACEHOLDER,
                dataset=dataset,
                evaluation=evaluation.outputs["evaluation"],
            )
            # Never cached: the champion may have changed since. So the run's id may be among its inputs.
            placed("promote", decided).set_caching_options(False)

        def whole_run() -> None:
            ingested = placed(
                "ingest", ingest(data=data, storage_root=storage_root, name=name, skip_unchanged=skip_unchanged)
            )
            # Never cached: only a look at the source tells whether it has changed.
            ingested.set_caching_options(False)
            with dsl.If(ingested.outputs["Output"] != "", name="data-to-train-on"):
                train_and_judge(ingested.outputs["Output"])

        if settings is None:
            whole_run()
            return
        told = notify(name=name, public_url=settings.public_url or "", webhook=settings.webhook or "")
        with dsl.ExitHandler(placed("notify", told), name="training"):
            whole_run()

    return training


def compile_training_pipeline(
    candidates: tuple[str, ...], output: Path, settings: Settings | None = None, shards: int = 1
) -> None:
    """Write the graph as Kubeflow's IR YAML.

    Args:
        candidates: As in `build_training_pipeline`.
        output: The file; its folder is made.
        settings: As in `build_training_pipeline`.
        shards: As in `build_training_pipeline`.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(build_training_pipeline(candidates, settings, shards), str(output))


def pipeline_arguments(config: RunConfig, *, skip_unchanged: bool = False) -> dict[str, Any]:
    """Return the values of the graph's parameters for a config.

    Sections travel as JSON strings, one for each step: Kubeflow's own structs turn integers into floats, and
    a step whose section has not changed keeps its place in the cache.
    """
    if "'" in config.storage.root:
        raise InputError(
            f"storage.root: a quotation mark cannot stand in the path of the object storage. "
            f"Received: {config.storage.root}. Choose another folder."
        )

    def section(name: str) -> str:
        return json.dumps(getattr(config, name).model_dump(mode="json"), sort_keys=True)

    return {
        "name": config.name,
        "seed": config.seed,
        "storage_root": config.storage.root,
        "data": section("data"),
        **{f"{step}_config": section(step) for step in ("augment", *CANDIDATES, "evaluate", "promote")},
        "runtime": section("runtime"),
        "code_version": code_version(),
        "skip_unchanged": skip_unchanged,
    }
