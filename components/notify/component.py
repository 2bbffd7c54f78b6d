"""Tell how a run ended."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def notify(name: str, run_id: str, public_url: str, webhook: str, status: dsl.PipelineTaskFinalStatus):
    """Log the outcome with its link and tell a webhook; a webhook that does not answer fails nothing."""
    from assay.outcome.notify import notify as run

    run(
        name,
        status.pipeline_task_name,
        status.state,
        run_id,
        status.error_message or "",
        public_url,
        webhook,
    )
