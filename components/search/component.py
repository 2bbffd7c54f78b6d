"""Search hyperparameters."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def search(
    config: str,
    runtime: str,
    seed: int,
    storage_root: str,
    code_version: str,
    policy: str,
    dataset: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    trials: dsl.Output[dsl.HTML],
    decided: dsl.Input[dsl.Artifact] = None,
):
    """Give the best model of a KerasTuner search and the table of its trials."""
    from assay import steps

    record = steps.train(
        "search",
        config=config,
        runtime=runtime,
        seed=seed,
        storage_root=storage_root,
        dataset_path=dataset.path,
        policy=policy,
        policy_path=decided.path if decided else None,
        model_path=model.path,
        page_path=trials.path,
    )
    model.metadata.update(record.described)
