"""Split, decode, resize and shard a snapshot."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def preprocess(
    data: str,
    snapshot: str,
    seed: int,
    runtime: str,
    code_version: str,
    dataset: dsl.Output[dsl.Dataset],
    folds: int = 0,
):
    """Give uint8 shards per split and dataset.json; no group is in two splits."""
    from assay import steps

    record = steps.preprocess(
        data=data, snapshot=snapshot, seed=seed, runtime=runtime, dataset_path=dataset.path, folds=folds
    )
    dataset.metadata.update(record.described)


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def preprocess_shard(
    data: str,
    snapshot: str,
    seed: int,
    runtime: str,
    storage_root: str,
    code_version: str,
    index: int,
    count: int,
    folds: int = 0,
) -> str:
    """Put part ``index`` of ``count`` of what preprocess gives into storage and give its URI; parts run in parallel."""
    from assay import steps

    record = steps.preprocess_shard(
        data=data,
        snapshot=snapshot,
        seed=seed,
        runtime=runtime,
        storage_root=storage_root,
        index=index,
        count=count,
        folds=folds,
    )
    return record.value


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def merge_shards(
    storage_root: str,
    code_version: str,
    shards: list,
    dataset: dsl.Output[dsl.Dataset],
):
    """Join the parts at these URIs to the dataset that one task would have given."""
    from assay import steps

    record = steps.merge_shards(shards=shards, storage_root=storage_root, dataset_path=dataset.path)
    dataset.metadata.update(record.described)
