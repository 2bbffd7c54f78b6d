"""Make the table of a sweep."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def sweep_table(
    sweep: str,
    storage_root: str,
    run_id: str,
    records: list,
    dataset: dsl.Input[dsl.Dataset],
    page: dsl.Output[dsl.HTML],
    table: dsl.Output[dsl.Markdown],
):
    """Give the table of all rows, seeds aggregated and the best row marked, and keep it in storage."""
    from assay import steps

    record = steps.sweep_table(
        sweep=sweep,
        records=records,
        storage_root=storage_root,
        run_id=run_id,
        dataset_path=dataset.path,
        page_path=page.path,
        table_path=table.path,
    )
    page.metadata.update(record.described)
