"""Train one row of a sweep from one seed."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def sweep_row(
    sweep: str,
    item: str,
    storage_root: str,
    code_version: str,
    dataset: dsl.Input[dsl.Dataset],
    policy: dsl.Input[dsl.Artifact],
) -> str:
    """Give the address of the record of one run: metrics, validation predictions, or why there is no model."""
    from assay import steps

    record = steps.sweep_row(
        sweep=sweep,
        item=item,
        storage_root=storage_root,
        dataset_path=dataset.path,
        policy_path=policy.path,
    )
    return record.value
