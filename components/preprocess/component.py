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
    metrics: dsl.Output[dsl.Metrics],
):
    """Give uint8 shards per split and dataset.json; no group is in two splits."""
    from assay import steps

    record = steps.preprocess(
        data=data,
        snapshot=snapshot,
        seed=seed,
        runtime=runtime,
        dataset_path=dataset.path,
        metrics_path=metrics.path,
    )
    metrics.metadata.update(record.metrics)
    dataset.metadata.update(record.metadata)


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def preprocess_shard(
    data: str,
    snapshot: str,
    seed: int,
    runtime: str,
    code_version: str,
    index: int,
    count: int,
    shard: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
):
    """Give part ``index`` of ``count`` of what preprocess gives; the parts run in parallel."""
    from assay import steps

    record = steps.preprocess_shard(
        data=data,
        snapshot=snapshot,
        seed=seed,
        runtime=runtime,
        index=index,
        count=count,
        shard_path=shard.path,
        metrics_path=metrics.path,
    )
    metrics.metadata.update(record.metrics)
    shard.metadata.update(record.metadata)


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def merge_shards(
    code_version: str,
    shards: dsl.Input[list[dsl.Dataset]],
    dataset: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
):
    """Join the parts to the dataset that one task would have given."""
    from assay import steps

    record = steps.merge_shards(
        shard_paths=[part.path for part in shards], dataset_path=dataset.path, metrics_path=metrics.path
    )
    metrics.metadata.update(record.metrics)
    dataset.metadata.update(record.metadata)
