"""What the fork server of `bench.faults.kills` imports before it forks anything: what the steps import, and no more.

Nothing of TensorFlow may run here: its threads do not come along into a forked process.
"""

from importlib import import_module

from assay.observability.quiet import silence_tensorflow

MODULES = (
    "pyarrow.parquet",
    "sklearn.metrics",
    "assay.ablation.run",
    "assay.augmentation.augment",
    "assay.augmentation.preview",
    "assay.augmentation.sensor_preview",
    "assay.data.ingest",
    "assay.data.preprocess",
    "assay.evaluation.card",
    "assay.evaluation.evaluate",
    "assay.evaluation.gradcam",
    "assay.evaluation.report",
    "assay.models.applications",
    "assay.models.serving",
    "assay.registry.promote",
    "assay.search.search",
    "assay.search.trials_page",
    "assay.search.tuner",
    "assay.steps",
    "assay.training.baseline",
    "assay.training.curves_page",
    "assay.training.finetune",
    "bench.faults.kills",
)

silence_tensorflow()
for module in MODULES:
    import_module(module)
