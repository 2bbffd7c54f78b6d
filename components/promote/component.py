"""Set the challenger against the champion."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def promote(
    config: str,
    runtime: str,
    seed: int,
    name: str,
    storage_root: str,
    dataset: dsl.Input[dsl.Dataset],
    evaluation: dsl.Input[dsl.Artifact],
    decision: dsl.Output[dsl.Markdown],
    metrics: dsl.Output[dsl.Metrics],
):
    """Keep the better of challenger and champion; every challenger stays in the registry as a version."""
    from assay import steps

    record = steps.promote(
        config, runtime, name, storage_root, dataset.path, evaluation.path, seed, decision.path, metrics.path
    )
    metrics.metadata.update(record.metrics)
    decision.metadata.update(record.metadata)
