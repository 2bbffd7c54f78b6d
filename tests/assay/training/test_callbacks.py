"""What watches a run: best epoch, patience, plateaus, and runs that learn nothing."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from assay.config import CallbacksConfig
from assay.training.callbacks import Best, NotLearning, Patience, Watch, is_better


def _detector(frequencies: list[float], steps: int | None = 100, **options: object) -> NotLearning:
    shares = np.asarray(frequencies)
    options.setdefault("class_weights", np.ones_like(shares))
    options.setdefault("valid_counts", np.round(1000 * shares).astype(int))
    return NotLearning(shares, steps, **options)  # type: ignore[arg-type]


def _first_alarm(detector: NotLearning, losses: np.ndarray, accuracy: float | np.ndarray, seed: int = 0) -> int | None:
    random = np.random.default_rng(seed)
    for _ in range(9):
        detector.end_epoch(0.5)  # whose ranking says nothing
    accuracies = np.broadcast_to(accuracy, losses.shape)
    for step, (loss, chance) in enumerate(zip(losses, accuracies, strict=True)):
        if detector.update(float(loss), float(random.binomial(32, chance)), 32):
            return step
    return None


def test_nan_is_never_best() -> None:
    best = Best("val_auc")
    values = [math.nan, 0.7, 0.8, 0.8, math.nan, 0.75]
    kept = [best.update(epoch, {"val_auc": value}) for epoch, value in enumerate(values, 1)]
    assert kept == [False, True, True, False, False, False]
    assert (best.value, best.epoch) == (0.8, 3)
    assert is_better(0.3, 0.4, "val_loss")
    assert not is_better(0.3, 0.4, "val_accuracy")


def test_of_equal_epochs_the_one_with_the_lower_loss_is_kept_and_patience_is_not_renewed() -> None:
    watch = Watch(CallbacksConfig(early_stopping_patience=3), Best("val_auc"), _detector([0.5, 0.5]))
    epochs = [(1.0, 0.573), (1.0, 0.2), (1.0, 0.3), (1.0, 0.006), (0.9, 0.001)]
    verdicts = [
        watch.end_epoch(epoch, {"val_auc": auc, "val_loss": loss}) for epoch, (auc, loss) in enumerate(epochs, 1)
    ]
    assert [verdict.keep for verdict in verdicts] == [True, True, False, True, False]
    assert (watch.best.epoch, watch.best.loss) == (4, 0.006)
    assert [verdict.stop for verdict in verdicts] == [False, False, False, True, False]


def test_patience_ends_after_so_many_epochs_and_then_counts_anew() -> None:
    patience = Patience(2)
    assert [patience.update(improved) for improved in [True, False, False, False, False, True, False]] == [
        False,
        False,
        True,
        False,
        True,
        False,
        False,
    ]
    assert not any(Patience(None).update(False) for _ in range(50))


def test_a_plateau_lowers_the_rate_and_a_longer_one_stops() -> None:
    config = CallbacksConfig(
        early_stopping_patience=4, reduce_on_plateau_patience=2, reduce_on_plateau_factor=0.1, monitor="val_loss"
    )
    watch = Watch(config, Best("val_loss"), _detector([0.5, 0.5]))
    verdicts = [watch.end_epoch(epoch, {"val_loss": 1.0}) for epoch in range(1, 6)]
    assert [verdict.lower_rate for verdict in verdicts] == [False, False, True, False, True]
    assert [verdict.stop for verdict in verdicts] == [False, False, False, False, True]
    assert watch.rate_factor == pytest.approx(0.01)


def test_a_loss_that_stays_at_chance_raises_the_alarm_when_the_window_is_full() -> None:
    losses = np.log(2) + np.random.default_rng(0).normal(0, 0.02, 300)
    assert _first_alarm(_detector([0.5, 0.5]), losses, 0.5) in range(99, 160)


def test_the_notes_run_that_stayed_at_loss_6_43_and_the_majority_is_noticed() -> None:
    losses = 6.43 + np.random.default_rng(0).normal(0, 0.8, 400)
    detector = _detector([0.6, 0.4])
    assert _first_alarm(detector, losses, 0.599) in range(99, 200)


@pytest.mark.parametrize(
    ("frequencies", "losses", "accuracy"),
    [
        ([0.5, 0.5], np.linspace(0.69, 0.60, 100), 0.50),  # falls, before accuracy moves
        ([0.95, 0.05], np.concatenate([np.linspace(0.2, 0.12, 150), np.full(250, 0.12)]), 0.95),  # rare class
        ([0.5, 0.5], np.full(400, 0.31), 0.87),  # converged: flat and low
        ([0.5, 0.5], np.full(400, 0.72), 0.60),  # overconfident, but it decides better than chance
        ([0.25] * 4, np.linspace(6.4, 2.0, 400), 0.25),  # a bad start, on its way
    ],
)
def test_runs_that_learn_are_left_alone(frequencies: list[float], losses: np.ndarray, accuracy: float) -> None:
    noise = np.random.default_rng(1).normal(0, 0.01, len(losses))
    assert _first_alarm(_detector(frequencies), losses + noise, accuracy) is None


@pytest.mark.parametrize(("prevalence", "auc"), [(0.01, 0.8), (0.02, 0.76), (0.05, 0.7), (0.5, 0.56)])
def test_a_run_that_ranks_is_left_alone_though_loss_and_accuracy_show_nothing(prevalence: float, auc: float) -> None:
    counts = np.round(1000 * np.array([1 - prevalence, prevalence])).astype(int)

    def alarm_at(ranking: float) -> int | None:
        detector = _detector([1 - prevalence, prevalence], valid_counts=counts)
        random = np.random.default_rng(0)
        for epoch in range(30):
            for loss in detector.chance_loss + random.normal(0, 0.02, 60):
                if detector.update(loss, 32 * max(prevalence, 1 - prevalence), 32) is not None:
                    return epoch
            detector.end_epoch(ranking)
        return None

    assert alarm_at(auc) is None
    assert alarm_at(0.51) == 2, "the same steps without the ranking"


def test_what_counts_as_chance_grows_to_some_standard_errors_while_the_steps_show_nothing() -> None:
    detector = _detector([0.5, 0.5], valid_counts=np.array([50, 150]))
    error = math.sqrt(201 / (12 * 50 * 150))  # Mann and Whitney: the variance of U / (n m) is (n + m + 1) / (12 n m)
    seen = [detector.chance_auc]
    for _ in range(20):
        for _ in range(100):
            detector.update(detector.chance_loss, 16, 32)
        detector.end_epoch(0.6)
        seen.append(detector.chance_auc)
    assert seen[:2] == pytest.approx([0.53, 0.53 + 0.4 * error])
    assert seen == sorted(seen) and seen[-1] == pytest.approx(0.5 + 3.1 * error)


@pytest.mark.parametrize(("below", "auc", "alarm"), [(2.5, 0.58, True), (2.5, 0.7, False), (5.0, 0.58, False)])
def test_loss_and_ranking_are_judged_together(below: float, auc: float, alarm: bool) -> None:
    """By heart a little, or ranked by luck a little, is no learning; either by far, or both by half, is."""
    detector = _detector([0.98, 0.02], valid_counts=np.array([980, 20]))
    noise = np.random.default_rng(0).normal(0, 0.02, 100)
    noise = (noise - noise.mean()) / noise.std() * 0.02
    losses = detector.chance_loss - below * 0.02 / math.sqrt(100) + noise
    stopped = False
    for _ in range(12):
        order = np.random.default_rng(1).permutation(100)
        stopped |= any(detector.update(float(loss), 31.36, 32) is not None for loss in losses[order])
        detector.end_epoch(auc)
    assert stopped is alarm


def test_without_a_ranking_the_loss_alone_shows_what_was_learnt() -> None:
    detector = _detector([0.98, 0.02], valid_counts=np.array([1000, 0]))
    for _ in range(9):
        detector.end_epoch(math.nan)
    noise = np.random.default_rng(0).normal(0, 0.02, 300)
    assert all(detector.update(float(detector.chance_loss - 0.02 + loss), 31.36, 32) is None for loss in noise)
    assert any(detector.update(float(detector.chance_loss + loss), 31.36, 32) is not None for loss in noise)


@pytest.mark.parametrize(
    ("counts", "aucs", "named"),
    [
        ([950, 50], [0.7, 0.6, 0.51, 0.48, 0.52], True),
        ([950, 50], [0.5, 0.5, 0.51, 0.6, 0.58], False),
        ([990, 10], [0.5, 0.5, 0.49, 0.48, 0.51], False),  # ten positives need not show an AUC of 0.7
        ([500, 500], [0.5, 0.53, 0.54, 0.55, 0.55], True),
        ([500, 500], [math.nan] * 5, False),
    ],
)
def test_a_run_that_learnt_by_heart_alone_is_named_at_its_end(
    counts: list[int], aucs: list[float], named: bool
) -> None:
    detector = _detector([0.5, 0.5], valid_counts=np.array(counts))
    for epoch, auc in enumerate(aucs):
        for step in range(40):
            assert detector.update(0.7 - 0.003 * (40 * epoch + step), 32, 32) is None
        detector.end_epoch(auc)
    reason = detector.verdict()
    assert (reason is not None) is named
    assert reason is None or "never above 0.5" in reason


def test_no_window_no_alarm() -> None:
    assert _first_alarm(_detector([0.5, 0.5], steps=None), np.full(1000, 0.7), 0.5) is None


def test_chance_loss_is_the_least_that_a_constant_prediction_reaches() -> None:
    frequencies, weights, smoothing = np.array([0.7, 0.2, 0.1]), np.array([0.5, 1.5, 4.0]), 0.1
    detector = _detector([0.7, 0.2, 0.1], class_weights=weights, label_smoothing=smoothing)
    targets = np.eye(3) * (1 - smoothing) + smoothing / 3
    grid = np.random.default_rng(0).dirichlet(np.ones(3), 40_000)
    losses = -(frequencies * weights) @ targets @ np.log(grid).T
    assert detector.chance_loss <= losses.min()
    assert detector.chance_loss == pytest.approx(losses.min(), rel=1e-3)


def test_a_restored_watch_goes_on_as_if_it_had_never_stopped() -> None:
    config = CallbacksConfig(early_stopping_patience=3, reduce_on_plateau_patience=2, not_learning_steps=20)
    random = np.random.default_rng(0)
    metrics = [{"val_auc": value} for value in random.uniform(0.4, 0.6, 20)]
    steps = [(float(loss), 16.0, 32.0) for loss in random.normal(0.69, 0.01, 60)]

    def fresh() -> Watch:
        return Watch(config, Best("val_auc"), _detector([0.5, 0.5], steps=20))

    straight, broken = fresh(), fresh()
    outcome: dict[str, list[object]] = {"straight": [], "broken": []}
    for number in range(20):
        broken_state = json.loads(json.dumps(broken.state()))
        broken = fresh()
        broken.restore(broken_state)
        for name, watch in (("straight", straight), ("broken", broken)):
            for step in steps[3 * number : 3 * number + 3]:
                outcome[name].append(watch.learning.update(*step))
            outcome[name].append(watch.end_epoch(number + 1, metrics[number]))
    assert outcome["straight"] == outcome["broken"]
    assert any(isinstance(item, str) for item in outcome["straight"])
