"""Train one candidate for one fold of a cross-validation."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def train_fold(
    candidate: str,
    fold: int,
    config: str,
    runtime: str,
    seed: int,
    storage_root: str,
    code_version: str,
    policy: str,
    dataset: dsl.Input[dsl.Dataset],
) -> str:
    """Give the address of the model that was trained without what the fold tests."""
    from assay import steps

    record = steps.train_fold(
        candidate,
        fold=fold,
        config=config,
        runtime=runtime,
        seed=seed,
        storage_root=storage_root,
        dataset_path=dataset.path,
        policy=policy,
    )
    return record.value
