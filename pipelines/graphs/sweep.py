"""The sweep graph: ingest, preprocess and augment once, then every row from every seed in parallel, then the table."""

import json
from pathlib import Path
from typing import Any

from kfp import compiler, dsl

from assay.hashing import code_version
from assay.sweep.parts import list_items
from assay.sweep.spec import Sweep
from components.augment.component import augment
from components.ingest.component import ingest
from components.preprocess.component import preprocess
from components.sweep_row.component import sweep_row
from components.sweep_table.component import sweep_table
from pipelines.graphs.placement import place
from pipelines.settings import Settings

PIPELINE_NAME = "assay-sweep"
# Rows train like a baseline: on the same machines.
ROWS_LIKE = "baseline"


def build_sweep_pipeline(settings: Settings | None = None, parallel: int = 4) -> Any:
    """Build the graph of any sweep.

    Args:
        settings: Where each step runs on a cluster; None: on this machine.
        parallel: Runs at the same time.

    Returns:
        A Kubeflow pipeline whose parameters are those of `sweep_arguments`.
    """
    limits = settings or Settings()

    @dsl.pipeline(
        name=PIPELINE_NAME,
        description="Runs that differ in named fields of the config, and their table.",
        pipeline_config=dsl.PipelineConfig(
            ttl_seconds_after_finished=round(limits.keep_finished_hours * 3600),
            active_deadline_seconds=round(limits.run_deadline_hours * 3600),
        ),
    )
    def sweep_rows(
        name: str,
        seed: int,
        storage_root: str,
        data: str,
        augment_config: str,
        runtime: str,
        sweep: str,
        items: list,  # type: ignore[type-arg]
        code_version: str,
        accelerator_type: str = limits.accelerator.type,
        accelerator_count: str = limits.accelerator.count,
    ) -> None:
        def placed(step: str, task: dsl.PipelineTask) -> dsl.PipelineTask:
            if settings is not None:
                place(task, step, settings, accelerator_type, accelerator_count)
            return task

        found = placed("ingest", ingest(data=data, storage_root=storage_root, name=name, skip_unchanged=False))
        found.set_caching_options(False)
        made = preprocess(
            data=data, snapshot=found.outputs["Output"], seed=seed, runtime=runtime, code_version=code_version
        )
        dataset = placed("preprocess", made).outputs["dataset"]
        shown = augment(config=augment_config, runtime=runtime, seed=seed, code_version=code_version, dataset=dataset)
        policy = placed("augment", shown).outputs["policy"]
        with dsl.ParallelFor(items, parallelism=parallel, name="rows") as item:
            run = sweep_row(
                sweep=sweep,
                item=item,
                storage_root=storage_root,
                code_version=code_version,
                dataset=dataset,
                policy=policy,
            )
            record = placed(ROWS_LIKE, run).outputs["record"]
        table = sweep_table(sweep=sweep, code_version=code_version, records=dsl.Collected(record), dataset=dataset)
        placed("sweep_table", table)

    return sweep_rows


def compile_sweep_pipeline(output: Path, settings: Settings | None = None) -> None:
    """Write the graph as Kubeflow's IR YAML.

    Args:
        output: The file; its folder is made.
        settings: As in `build_sweep_pipeline`.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(build_sweep_pipeline(settings), str(output))


def sweep_arguments(sweep: Sweep) -> dict[str, Any]:
    """Return the values of the graph's parameters for a sweep."""

    def section(name: str) -> str:
        return json.dumps(getattr(sweep.base, name).model_dump(mode="json"), sort_keys=True)

    return {
        "name": sweep.base.name,
        "seed": sweep.base.seed,
        "storage_root": sweep.base.storage.root,
        "data": section("data"),
        "augment_config": section("augment"),
        "runtime": section("runtime"),
        "sweep": sweep.to_json(),
        "items": list_items(sweep),
        "code_version": code_version(),
    }
