"""The pipeline's steps as plain calls: sections of the config as lines, paths in, paths out, and what to record.

Components call these and nothing else; `frame` is what is around each of them.
"""

from assay.steps.data import augment, ingest, merge_shards, preprocess, preprocess_shard
from assay.steps.frame import StepRecord
from assay.steps.judging import evaluate, evaluate_folds, promote
from assay.steps.sweeping import sweep_row, sweep_table
from assay.steps.training import train, train_fold

__all__ = [
    "StepRecord",
    "augment",
    "evaluate",
    "evaluate_folds",
    "ingest",
    "merge_shards",
    "preprocess",
    "preprocess_shard",
    "promote",
    "sweep_row",
    "sweep_table",
    "train",
    "train_fold",
]
