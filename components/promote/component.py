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
    run_id: str,
    config_fingerprint: str,
    dataset: dsl.Input[dsl.Dataset],
    evaluation: dsl.Input[dsl.Artifact],
    decision: dsl.Output[dsl.Markdown],
):
    """Keep the better of challenger and champion, every challenger as a version, and the run's record."""
    from assay import steps

    record = steps.promote(
        promote=config,
        runtime=runtime,
        seed=seed,
        name=name,
        storage_root=storage_root,
        run_id=run_id,
        config_fingerprint=config_fingerprint,
        dataset_path=dataset.path,
        evaluation_path=evaluation.path,
        decision_path=decision.path,
    )
    decision.metadata.update(record.described)
