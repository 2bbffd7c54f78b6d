"""Judge the candidates on the test split."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def evaluate(
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
    baseline: dsl.Input[dsl.Model] = None,
    search: dsl.Input[dsl.Model] = None,
    finetune: dsl.Input[dsl.Model] = None,
):
    """Give the comparison of all candidates with intervals, the report, and the best model ready to serve."""
    from assay import steps

    models = {"baseline": baseline, "search": search, "finetune": finetune}
    record = steps.evaluate(
        evaluate=config,
        runtime=runtime,
        seed=seed,
        name=name,
        storage_root=storage_root,
        dataset_path=dataset.path,
        candidates={name: model.path for name, model in models.items() if model is not None},
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
