"""Read a source: table, fingerprint, quality report."""

from typing import NamedTuple

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
    code_version: str,
    quality: dsl.Output[dsl.HTML],
    folds: int = 0,
) -> NamedTuple("Found", [("snapshot", str), ("reused_from", str)]):  # type: ignore[valid-type]
    """Give the snapshot's URI, or an empty string where nothing has changed, and what outputs are reused by."""
    from assay import steps

    record = steps.ingest(
        data=data,
        storage_root=storage_root,
        name=name,
        seed=seed,
        config_fingerprint=config_fingerprint,
        skip_unchanged=skip_unchanged,
        code_version=code_version,
        quality_path=quality.path,
        folds=folds,
    )
    quality.metadata.update(record.described)
    return record.value, record.metadata["reused_from"]
