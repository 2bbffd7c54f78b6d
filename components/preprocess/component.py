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

    record = steps.preprocess(data, snapshot, seed, runtime, dataset.path, metrics.path)
    metrics.metadata.update(record.metrics)
    dataset.metadata.update(record.metadata)
