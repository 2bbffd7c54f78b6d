"""Judge candidates that were trained fold by fold, each model on the images that it has seen nothing of."""

from typing import Optional

from kfp import dsl

from components import BASE_IMAGE

# Kubeflow does not know `list | None`.
# ruff: noqa: UP045


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def evaluate_folds(
    config: str,
    runtime: str,
    seed: int,
    name: str,
    storage_root: str,
    code_version: str,
    dataset: dsl.Input[dsl.Dataset],
    evaluation: dsl.Output[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
    leaderboard: dsl.Output[dsl.Markdown],
    classification: dsl.Output[dsl.ClassificationMetrics],
    scores: dsl.Output[dsl.Metrics],
    baseline: Optional[list] = None,
    search: Optional[list] = None,
    finetune: Optional[list] = None,
):
    """Give the comparison over all images, the report with each fold's figures, and the best models as one."""
    from assay import steps

    record = steps.evaluate_folds(
        evaluate=config,
        runtime=runtime,
        seed=seed,
        name=name,
        storage_root=storage_root,
        dataset_path=dataset.path,
        candidates={"baseline": baseline, "search": search, "finetune": finetune},
        evaluation_path=evaluation.path,
        report_path=report.path,
        leaderboard_path=leaderboard.path,
        classification_path=classification.path,
        scores_path=scores.path,
    )
    scores.metadata.update(record.scores)
    evaluation.metadata.update(record.described)
    if record.confusion is not None:
        classification.log_confusion_matrix(*record.confusion)
    if record.roc is not None:
        classification.log_roc_curve(*record.roc)
