"""Resolve the augmentation policy and show it."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def augment(
    config: str,
    runtime: str,
    seed: int,
    storage_root: str,
    code_version: str,
    dataset: dsl.Input[dsl.Dataset],
    policy: dsl.Output[dsl.Artifact],
    preview: dsl.Output[dsl.HTML],
):
    """Give the resolved policy, a preview page and, where asked for, an ablation table."""
    from assay import steps

    record = steps.augment(
        augment=config,
        runtime=runtime,
        seed=seed,
        storage_root=storage_root,
        dataset_path=dataset.path,
        policy_path=policy.path,
        preview_path=preview.path,
    )
    policy.metadata.update(record.described)
