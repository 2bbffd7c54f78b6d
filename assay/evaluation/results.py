"""What an evaluation found: plain values from which report, card, leaderboard and metrics are written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from assay.config import EvaluateConfig
from assay.data.dataset import Dataset, ShardedArray
from assay.measures.calibration import FittedCalibration
from assay.measures.comparison import PairedDifference
from assay.measures.interval import Interval
from assay.measures.intervals import Resampler
from assay.measures.metrics import METRICS, PointMetrics, Scored
from assay.measures.offsets import ClassOffsets
from assay.measures.recalibration import Recalibration
from assay.measures.thresholds import Threshold
from assay.models.info import ModelInfo

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd


@dataclass(frozen=True)
class Candidate:
    """One model, judged.

    Attributes:
        name: What it was handed in as: baseline, search, finetune...
        info: Of its artifact.
        offsets: Of more than two classes, chosen on the validation split.
        fitted: What is done to its probabilities: the prior's shift, and what the validation split gave.
        threshold: Chosen on the validation split; None for more than two classes.
        valid: Its answers on the validation split, calibrated and decided.
        test: The same on the test split.
        raw_test: The network's own probabilities of the test split, float32 (N, K).
        valid_metrics: Of the validation split.
        test_metrics: Of the test split.
        intervals: Of the test split's metrics.
        calibration: How far its test probabilities are frequencies; None until all candidates are judged.
        per_class: One row a class; see `per_class_table`.
        training: The training step's metrics.json; empty where there is none.
        history: history.csv; None where there is none.
    """

    name: str
    info: ModelInfo
    fitted: FittedCalibration
    threshold: Threshold | None
    offsets: ClassOffsets
    valid: Scored
    test: Scored
    raw_test: npt.NDArray[np.float32]
    valid_metrics: PointMetrics
    test_metrics: PointMetrics
    intervals: Mapping[str, Interval]
    per_class: Sequence[Mapping[str, Any]]
    training: Mapping[str, float] = field(default_factory=dict)
    history: pd.DataFrame | None = None
    calibration: Recalibration | None = None

    def flat_metrics(self) -> dict[str, float]:
        """Return ``test_auc``, ``test_auc_low``, ``test_auc_high``... and ``val_auc``...; only what is finite."""
        values: dict[str, float] = {}
        for name in METRICS:
            interval = self.intervals[name]
            values[f"test_{name}"] = self.test_metrics.values[name]
            values[f"test_{name}_low"], values[f"test_{name}_high"] = interval.low, interval.high
        for name in ("auc", "accuracy", "log_loss"):
            values[f"val_{name}"] = self.valid_metrics.values[name]
        if self.threshold is not None:
            values["threshold"] = self.threshold.value
        values |= self._fitted_metrics()
        if self.calibration is not None:
            values |= self.calibration.metrics("test_calibration")
        return {name: float(value) for name, value in values.items() if math.isfinite(value)}

    def _fitted_metrics(self) -> dict[str, float]:
        """Return slope and intercept of the log odds of the class to detect; of more classes or models nothing."""
        found = self.fitted.map
        if len(self.info.classes) != 2 or found.curves or math.isnan(self.fitted.loss_before):
            return {}
        slopes, intercepts = found.slopes or (1.0, 1.0), found.intercepts or (0.0, 0.0)
        sign = 1 if self.info.positive_index == 1 else -1
        return {"fitted_slope": slopes[1], "fitted_intercept": sign * (intercepts[1] - intercepts[0])}


@dataclass(frozen=True)
class CandidateComparison:
    """Two candidates set against each other on the test split.

    Attributes:
        candidate: The one that is meant to be better.
        against: The other.
        role: What the other is: ``baseline``, or ``other`` where ``candidate`` is the best.
        auc: Paired difference in AUC.
        accuracy: Paired difference in accuracy.
        auc_p_holm: The p-value of ``auc``, adjusted for the number of comparisons of this role.
        accuracy_p_holm: The same of ``accuracy``.
    """

    candidate: str
    against: str
    role: str
    auc: PairedDifference
    accuracy: PairedDifference
    auc_p_holm: float = math.nan
    accuracy_p_holm: float = math.nan


@dataclass(frozen=True)
class GroupRow:
    """One patient or slide of the test split, as the best candidate saw it."""

    name: str
    images: int
    positives: int
    auc: float
    accuracy: float
    interval: Interval


@dataclass(frozen=True)
class Views:
    """What averaging over flips and turns would give the best candidate; not used for anything else."""

    views: int
    metrics: PointMetrics
    intervals: Mapping[str, Interval]
    gain: PairedDifference


@dataclass(frozen=True)
class FoldScore:
    """What one fold of a cross-validation gave.

    Attributes:
        number: From 0.
        train: Cases trained on.
        valid: Cases by which its epochs, threshold and calibration were chosen.
        test: Cases tested.
        groups: Patients or slides among them; None where there are none.
        metrics: For each candidate test_auc, test_accuracy, test_log_loss, val_auc, threshold, best_epoch.
    """

    number: int
    train: int
    valid: int
    test: int
    groups: int | None
    metrics: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Evaluation:
    """Everything that was found.

    Attributes:
        dataset: What the candidates were trained and judged on.
        config: The section ``evaluate``.
        seed: Of the resamples.
        candidates: In order of validation AUC, the best first.
        chosen_by: The name of the validation metric that decided.
        comparisons: Of the others with the best, and of all with the baseline.
        resampler: What was drawn.
        inputs: Of the test split (N, ...).
        ids: Of the test cases (N,).
        test_fingerprint: Hash of the test cases and their labels: intervals are comparable where it is the same.
        groups: Patient or slide of each test case (N,); None where there are none.
        group_rows: Per group; empty where groups are absent or too small to tell.
        views: Test-time augmentation, where asked for.
        optimism: By how much the best validation AUC flatters for being the best of the candidates'; nan where there
            is one candidate, or the choice was not made by it.
        folds: Of a cross-validation, whose test cases are all there are; empty: a single split.
        fold_of: The fold of each test case, int64 (N,); None: a single split.
        looks: Fingerprint of the test cases of each comparison with a champion of the model's name so far.
    """

    dataset: Dataset
    config: EvaluateConfig
    seed: int
    candidates: Sequence[Candidate]
    chosen_by: str
    comparisons: Sequence[CandidateComparison]
    resampler: Resampler
    inputs: ShardedArray
    ids: Sequence[str]
    test_fingerprint: str
    groups: npt.NDArray[Any] | None
    group_rows: Sequence[GroupRow] = ()
    views: Views | None = None
    optimism: float = math.nan
    looks: Sequence[str] = ()
    folds: Sequence[FoldScore] = ()
    fold_of: npt.NDArray[np.int64] | None = None

    @property
    def best(self) -> Candidate:
        """The candidate with the highest validation AUC."""
        return self.candidates[0]

    @property
    def baseline(self) -> Candidate | None:
        """The candidate called baseline, where there is one."""
        return next((candidate for candidate in self.candidates if candidate.name == "baseline"), None)

    @property
    def binary(self) -> bool:
        """Whether there are two classes."""
        return len(self.dataset.classes) == 2

    @property
    def test_counts(self) -> dict[str, int]:
        """Test cases of each class, by name."""
        names = self.dataset.classes
        return {name: int((self.best.test.labels == index).sum()) for index, name in enumerate(names)}

    @property
    def splits(self) -> list[tuple[str, dict[str, int], int, int | None]]:
        """Name, cases of each class, all cases, and groups where they were counted, of each split or tested fold."""
        dataset = self.dataset
        if self.fold_of is None:
            groups = dataset.description.get("groups") or {}
            names = {"train": "training", "valid": "validation", "test": "test"}
            return [
                (name, dict(dataset.counts[split]), sum(dataset.counts[split].values()), groups.get(split))
                for split, name in names.items()
            ]
        found = []
        for fold in self.folds:
            labels = self.best.test.labels[self.fold_of == fold.number]
            counts = {name: int((labels == index).sum()) for index, name in enumerate(dataset.classes)}
            found.append((f"fold {fold.number + 1}", counts, fold.test, fold.groups))
        return found

    @property
    def unit(self) -> str:
        """What the cases are called: images or windows."""
        return "images" if self.dataset.kind == "image" else "windows"

    @property
    def class_names(self) -> list[str]:
        """The classes as they are written in sentences: a bare number is called class 1."""
        return [name if any(sign.isalpha() for sign in name) else f"class {name}" for name in self.dataset.classes]

    @property
    def positive_class(self) -> str:
        """The class to detect, as it is written in sentences."""
        return self.class_names[self.dataset.positive_index]

    @property
    def negative_class(self) -> str:
        """The other of two classes, as it is written in sentences."""
        return self.class_names[1 - self.dataset.positive_index]

    def comparison(self, candidate: str, against: str) -> CandidateComparison | None:
        """Return the comparison of two candidates, where it was made in this order."""
        found = (pair for pair in self.comparisons if (pair.candidate, pair.against) == (candidate, against))
        return next(found, None)


def finite(value: Any) -> Any:
    """Return the value with every number that is not finite as None, through lists and mappings: JSON knows no nan."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
