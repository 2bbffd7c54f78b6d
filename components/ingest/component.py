"""Read a source: table, fingerprint, quality report."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def ingest(
    data: str,
    storage_root: str,
    name: str,
    skip_unchanged: bool,
    quality: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """Give the snapshot's URI, or an empty string where nothing has changed since the champion was trained."""
    from assay import steps

    record = steps.ingest(
        data=data,
        storage_root=storage_root,
        name=name,
        skip_unchanged=skip_unchanged,
        quality_path=quality.path,
        metrics_path=metrics.path,
    )
    metrics.metadata.update(record.metrics)
    quality.metadata.update(record.metadata)
    return record.value
