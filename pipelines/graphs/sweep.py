"""The sweep graph: ingest, preprocess and augment once, then every row from every seed in parallel, then the table."""

from pathlib import Path
from typing import Any

from kfp import compiler, dsl

from assay.config import write_brief
from assay.hashing import code_version
from assay.sweep.parts import list_items
from assay.sweep.spec import Sweep
from components.augment.component import augment as augment_step
from components.ingest.component import ingest as ingest_step
from components.preprocess.component import preprocess as preprocess_step
from components.sweep_row.component import sweep_row
from components.sweep_table.component import sweep_table
from pipelines.graphs.placement import pipeline_config, place
from pipelines.graphs.telling import told
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
        pipeline_config=pipeline_config(limits),
    )
    def sweep_rows(
        name: str,
        system_storage_root: str,
        system_code_version: str,
        system_sweep: str,
        system_items: list,  # type: ignore[type-arg]
        seed: int = 0,
        data: str = "",
        augment: str = "",
        sweep: str = "",
        system_runtime: str = "",
        system_run_id: str = "",
        system_accelerator_type: str = limits.accelerator.type,
        system_accelerator_count: str = limits.accelerator.count,
    ) -> None:
        root, runtime = system_storage_root, system_runtime

        def placed(step: str, task: dsl.PipelineTask) -> dsl.PipelineTask:
            if settings is not None:
                place(task, step, settings, system_accelerator_type, system_accelerator_count)
            return task

        with told(name, "sweep", settings, placed):
            found = ingest_step(
                data=data,
                storage_root=root,
                name=name,
                seed=seed,
                config_fingerprint="",
                skip_unchanged=False,
                code_version=system_code_version,
            )
            placed("ingest", found).set_caching_options(False)
            snapshot, code = found.outputs["snapshot"], found.outputs["reused_from"]
            made = preprocess_step(data=data, snapshot=snapshot, seed=seed, runtime=runtime, code_version=code)
            dataset = placed("preprocess", made).outputs["dataset"]
            shown = augment_step(
                config=augment, runtime=runtime, seed=seed, storage_root=root, code_version=code, dataset=dataset
            )
            policy = placed("augment", shown).outputs["policy"]
            with dsl.ParallelFor(system_items, parallelism=parallel, name="rows") as item:
                row = sweep_row(
                    sweep=system_sweep, item=item, storage_root=root, code_version=code, dataset=dataset, policy=policy
                )
                placed(ROWS_LIKE, row)
            table = sweep_table(
                sweep=system_sweep,
                storage_root=root,
                # The local runner does not know the placeholder.
                run_id=system_run_id if settings is None else dsl.PIPELINE_JOB_ID_PLACEHOLDER,
                # Addresses, not artifacts: Kubeflow reads a list of artifacts from the bucket of its first alone.
                records=dsl.Collected(row.outputs["Output"]),
                dataset=dataset,
            )
            # Never cached: it leaves the tables under the run's own id.
            placed("sweep_table", table).set_caching_options(False)

    return sweep_rows


def compile_sweep_pipeline(output: Path, settings: Settings | None = None) -> None:
    """Write the graph as Kubeflow's IR YAML.

    Args:
        output: The file; its folder is made.
        settings: As in `build_sweep_pipeline`.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(build_sweep_pipeline(settings), str(output))


def sweep_arguments(sweep: Sweep, *, epoch: str = "") -> dict[str, Any]:
    """Return the values of the graph's parameters for a sweep; see `pipelines.graphs.training.pipeline_arguments`."""
    base = sweep.base
    sections = {"data": base.data, "augment": base.augment, "system_runtime": base.runtime}
    changed = {name: write_brief(section) for name, section in sections.items()}
    return {
        "name": base.name,
        **({"seed": base.seed} if base.seed else {}),
        **{name: text for name, text in changed.items() if text},
        # For whoever looks at the run; the steps read all of it from the parameter below.
        "sweep": f"{sweep.spec.name}: {len(sweep.rows)} rows, {len(sweep.spec.seeds)} seeds, {sweep.spec.candidate}",
        "system_sweep": sweep.to_json(),
        "system_items": list_items(sweep),
        "system_storage_root": base.storage.root,
        "system_code_version": f"{code_version()} {epoch}".rstrip(),
    }
