"""Read a source: table, fingerprint, quality report."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def ingest(
    data: str,
    storage_root: str,
    name: str,
    seed: int,
    config_fingerprint: str,
    skip_unchanged: bool,
    quality: dsl.Output[dsl.HTML],
    folds: int = 0,
) -> str:
    """Give the snapshot's URI, or an empty string where nothing has changed since an earlier training."""
    from assay import steps

    record = steps.ingest(
        data=data,
        storage_root=storage_root,
        name=name,
        seed=seed,
        config_fingerprint=config_fingerprint,
        skip_unchanged=skip_unchanged,
        quality_path=quality.path,
        folds=folds,
    )
    quality.metadata.update(record.described)
    return record.value
