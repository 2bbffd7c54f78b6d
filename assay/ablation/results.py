"""What an ablation trains and finds: variants of a policy, and what came of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from assay.augmentation.operations import Operation
from assay.config import Policy

Kind = Literal["all", "none", "without", "alone", "recommended"]


@dataclass(frozen=True)
class Variant:
    """One policy that is trained.

    Attributes:
        kind: ``all`` operations, ``none``, all ``without`` one, one ``alone``, or the ``recommended`` ones.
        operation: The one left out or alone; None for the others.
        policy: What it is trained with.
    """

    kind: Kind
    operation: Operation | None
    policy: Policy

    @property
    def name(self) -> str:
        """What to call it."""
        if self.operation is None:
            return self.kind
        name = self.operation.name
        return f"without {name}" if self.kind == "without" else f"{name} alone"


@dataclass(frozen=True)
class VariantOutcome:
    """What came of one variant.

    Attributes:
        variant: What was trained.
        values: Validation AUC of each seed.
        reference: The kind that it is compared with, or "" for a reference itself.
        difference: Mean over the seeds of its AUC less the reference's; nan without a reference.
        low: Lower end of the difference's interval.
        high: Upper end.
        verdict: What follows for the operation, in words.
    """

    variant: Variant
    values: tuple[float, ...]
    reference: str
    difference: float
    low: float
    high: float
    verdict: str

    @property
    def mean(self) -> float:
        """Mean validation AUC over the seeds."""
        return float(np.mean(self.values))

    @property
    def spread(self) -> float:
        """Standard deviation of the validation AUC over the seeds."""
        return float(np.std(self.values, ddof=1))


@dataclass(frozen=True)
class AblationResult:
    """What the ablation found.

    Attributes:
        outcomes: One for each variant, in the order of the table.
        recommended: The policy that it recommends.
        reason: Why, in one sentence.
        metrics: Flat names, finite values.
    """

    outcomes: tuple[VariantOutcome, ...]
    recommended: Policy
    reason: str
    metrics: dict[str, float]
