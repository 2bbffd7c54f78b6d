"""Make the table of a sweep."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def sweep_table(
    sweep: str,
    code_version: str,
    records: dsl.Input[list[dsl.Artifact]],
    dataset: dsl.Input[dsl.Dataset],
    page: dsl.Output[dsl.HTML],
    table: dsl.Output[dsl.Markdown],
    metrics: dsl.Output[dsl.Metrics],
):
    """Give the table of all rows, seeds aggregated and the best row marked."""
    from assay import steps

    made = steps.sweep_table(
        sweep=sweep,
        record_paths=[record.path for record in records],
        dataset_path=dataset.path,
        page_path=page.path,
        table_path=table.path,
        metrics_path=metrics.path,
    )
    metrics.metadata.update(made.metrics)
    page.metadata.update(made.metadata)
