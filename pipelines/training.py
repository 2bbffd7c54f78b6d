"""The training graph: ingest, preprocess, augment, three candidates, evaluate, promote."""

import json
from pathlib import Path
from typing import Any

from kfp import compiler, dsl

from assay.config import RunConfig
from assay.errors import InputError
from assay.hashing import code_version
from components.augment.component import augment
from components.baseline.component import baseline
from components.evaluate.component import evaluate
from components.finetune.component import finetune
from components.ingest.component import ingest
from components.preprocess.component import preprocess
from components.promote.component import promote
from components.search.component import search
from pipelines.steps import CANDIDATES

PIPELINE_NAME = "assay-training"
COMPONENTS = {"baseline": baseline, "search": search, "finetune": finetune}


def build_training_pipeline(candidates: tuple[str, ...]) -> Any:
    """Build the graph for a set of candidates.

    What a run trains is known before it starts, so the graph holds just that: a branch at run time would
    need ``dsl.OneOf`` on artifacts, which the local runner does not have.

    Args:
        candidates: Of ``baseline``, ``search`` and ``finetune``.

    Returns:
        A Kubeflow pipeline whose parameters are those of `pipeline_arguments`.
    """

    @dsl.pipeline(name=PIPELINE_NAME, description="From labelled images to a champion model that one can defend.")
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
    ) -> None:
        configs = {"baseline": baseline_config, "search": search_config, "finetune": finetune_config}
        ingested = ingest(data=data, storage_root=storage_root, name=name, skip_unchanged=skip_unchanged)
        # Never cached: only a look at the source tells whether it has changed.
        ingested.set_caching_options(False)
        with dsl.If(ingested.outputs["Output"] != "", name="data-to-train-on"):
            dataset = preprocess(
                data=data,
                snapshot=ingested.outputs["Output"],
                seed=seed,
                runtime=runtime,
                code_version=code_version,
            ).outputs["dataset"]
            policy = augment(
                config=augment_config, runtime=runtime, seed=seed, code_version=code_version, dataset=dataset
            ).outputs["policy"]
            models = {
                candidate: COMPONENTS[candidate](
                    config=configs[candidate],
                    runtime=runtime,
                    seed=seed,
                    storage_root=storage_root,
                    code_version=code_version,
                    dataset=dataset,
                    policy=policy,
                ).outputs["model"]
                for candidate in candidates
            }
            evaluation = evaluate(
                config=evaluate_config,
                runtime=runtime,
                seed=seed,
                code_version=code_version,
                dataset=dataset,
                **models,
            ).outputs["evaluation"]
            decided = promote(
                config=promote_config,
                runtime=runtime,
                seed=seed,
                name=name,
                storage_root=storage_root,
                dataset=dataset,
                evaluation=evaluation,
            )
            # Never cached: the champion may have changed since.
            decided.set_caching_options(False)

    return training


def compile_training_pipeline(candidates: tuple[str, ...], output: Path) -> None:
    """Write the graph as Kubeflow's IR YAML.

    Args:
        candidates: As in `build_training_pipeline`.
        output: The file; its folder is made.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(build_training_pipeline(candidates), str(output))


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
