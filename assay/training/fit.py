"""The training loop: steps, validation once an epoch, what watches the run, and exact resume.

One loop of our own rather than `keras.Model.fit`: a run killed at any moment goes on bit by bit as if it had not
been, which needs the step within the epoch, the watchers' state and the best weights in one checkpoint. `fit` and
`_train` are the run in the order in which it happens; what it consists of is in ``run_state``.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import keras
import numpy as np
import numpy.typing as npt

from assay.config import RuntimeConfig, TrainConfig
from assay.errors import AssayError
from assay.observability.progress import Progress, log
from assay.runtime import resolve_steps_per_execution, use_jit
from assay.training.checkpoint import Checkpoint
from assay.training.compiled import Forward, Prepared, TrainStep
from assay.training.history import UNREMARKABLE, Ending, History
from assay.training.inputs import Batches
from assay.training.metrics import validation_metrics
from assay.training.run_state import Position, RunState, assign, values_of

Array = npt.NDArray[Any]

# Told each epoch's row of the history; True ends the run.
OnEpoch = Callable[[dict[str, Any]], bool]


class Judged(Protocol):
    """What each epoch is judged on: a `Split`, or features of one."""

    @property
    def inputs(self) -> Any:
        """(N, ...): an array, or anything with ``len`` and slices."""

    @property
    def labels(self) -> Array:
        """Class indices (N,)."""


class DivergedError(AssayError):
    """The loss became infinite or not a number before any epoch was finished."""


def fit(
    model: keras.Model,
    train: Batches,
    valid: Judged,
    config: TrainConfig,
    runtime: RuntimeConfig,
    *,
    phase: str,
    seed: int,
    checkpoint: Checkpoint | None = None,
    before: History | None = None,
    judged_model: keras.Model | None = None,
    on_epoch: OnEpoch | None = None,
) -> History:
    """Train a model and leave the best epoch's weights in it.

    Args:
        model: Raw inputs in, probabilities out; under the strategy that it was built with.
        train: The training batches; their order and augmentation depend on (seed, epoch) alone.
        valid: Inputs and labels on which each epoch is judged.
        config: Epochs, optimizer, watchers, class weights, label smoothing.
        runtime: XLA, steps in one call, minutes between checkpoints.
        phase: Names the run in the history and the progress.
        seed: Of the run; it is part of the checkpoint's identity.
        checkpoint: Where the run is saved and taken up from; None: nowhere. The finished phase stays there, so that
            a later phase resumes without training this one again.
        before: The phase whose best weights training begins with: they are kept where no epoch beats them.
        judged_model: What ``valid`` is the input of, where that is not the model: a tail that shares its layers.
        on_epoch: Told each epoch's row of the history; returning True ends the run. A run that ended so asks again
            when it is resumed, and goes on where the answer has changed.

    Returns:
        What happened.

    Raises:
        DivergedError: The loss was not finite before any epoch was finished.
    """
    history = History(phase, config.callbacks.monitor)
    if before is not None:
        history.best_value, history.best_loss = before.best_value, before.best_loss
    if config.epochs == 0:
        history.end(Ending.NO_EPOCHS, "no epochs were asked for")
        return history
    with _synchronized_statistics(model):
        run = RunState(model, config, train, valid.labels, seed, history)
        jit = use_jit(runtime)
        step = TrainStep(
            model,
            run.optimizer,
            class_weights=run.class_weights,
            label_smoothing=config.label_smoothing,
            strategy=model.distribute_strategy,
            jit=jit,
        )
        forward = Forward(judged_model or model, jit=jit)
        _resume(run, checkpoint, on_epoch)
        history.prior_shift = run.prior_shift
        if history.ended is None:
            _train(run, step, forward, train, valid, runtime, checkpoint, on_epoch)
        run.take_best()
    if history.ended not in UNREMARKABLE:
        epoch = min(run.at.epoch + 1, config.epochs)
        log(f"{run.name}: stopped in epoch {epoch} of {config.epochs}: {history.message}")
    return history


def _train(
    run: RunState,
    step: TrainStep,
    forward: Forward,
    train: Batches,
    valid: Judged,
    runtime: RuntimeConfig,
    checkpoint: Checkpoint | None,
    on_epoch: OnEpoch | None,
) -> None:
    """Run epochs until something ends the run."""
    history, total = run.history, run.config.epochs * len(train.labels)
    at_once, save_seconds = resolve_steps_per_execution(runtime), 60 * runtime.checkpoint_minutes
    with Progress(f"train {run.name}", total=total, unit="images") as progress:
        progress.advance(history.images)
        while history.ended is None:
            train.set_epoch(run.at.epoch)
            clock = saved = time.perf_counter()
            for sums in _steps(step, train, run.at.step, at_once):
                _count(run, sums)
                now = time.perf_counter()
                history.seconds += now - clock
                history.step_seconds += now - clock
                clock = now
                progress.note(_note(run))
                progress.advance(int(sums[:, 2].sum()))
                if history.ended is not None:
                    break
                if checkpoint is not None and now - saved > save_seconds:
                    checkpoint.save(run.to_checkpoint())
                    clock = saved = time.perf_counter()
            if history.ended is not Ending.DIVERGED:
                started = time.perf_counter()
                predicted, weights = _predict(run, forward, valid)
                if not np.isfinite(predicted).all():
                    _end_diverged(run, "the predictions became nan")
                else:
                    metrics = validation_metrics(valid.labels, predicted)
                    history.seconds += time.perf_counter() - started
                    row = _add_row(run, {f"val_{name}": value for name, value in metrics.items()})
                    _decide(run, row, weights, asked_to_stop=on_epoch is not None and on_epoch(row))
            if history.ended is None:
                run.at = Position(epoch=run.at.epoch + 1)
                if run.at.epoch == run.config.epochs:
                    _end_naturally(run, Ending.ALL_EPOCHS, "all epochs are done")
            progress.note(_note(run))
            if checkpoint is not None:
                checkpoint.save(run.to_checkpoint())


def is_finished(checkpoint: Checkpoint | None) -> bool:
    """Return whether a phase has been trained to its end and only needs its weights back."""
    state = None if checkpoint is None else checkpoint.load()
    return state is not None and state.values["history"]["ended"] is not None


def _resume(run: RunState, checkpoint: Checkpoint | None, on_epoch: OnEpoch | None) -> None:
    """Take up the run where its checkpoint left it, if there is one."""
    state = None if checkpoint is None else checkpoint.load()
    if state is None or checkpoint is None:
        return
    if state.values["identity"] != run.identity:
        log(f"{checkpoint.uri}: the checkpoint is of another run; training starts over.")
        return
    run.take_up(state)
    history = run.history
    cut = history.ended is Ending.BY_CALLER and len(history.rows) < run.config.epochs
    if cut and on_epoch is not None and not on_epoch(history.rows[-1]):
        history.ended, history.message = None, ""
        run.at = Position(epoch=run.at.epoch + 1)
    if history.ended is None:
        log(f"{run.name}: continued from epoch {run.at.epoch + 1}, step {run.at.step}")


def _steps(step: TrainStep, batches: Batches, first: int, at_once: int) -> Iterator[npt.NDArray[np.float64]]:
    """Take the steps of an epoch from the first on, and yield their sums as `TrainStep` gives them.

    As many batches of one size run in one call as are asked for. The next ones are brought to the devices while a
    step runs.
    """
    full = len(batches.labels) // batches.batch_size
    ranges = []
    index = first
    while index < len(batches):
        count = min(at_once, full - index) if index < full else 1
        ranges.append(range(index, index + count))
        index += count

    def prepare(group: range) -> Prepared:
        return step.prepare([batches[position] for position in group])

    if not ranges:  # interrupted between the last step and the epoch's end
        return
    with ThreadPoolExecutor(1, thread_name_prefix="prepare") as ahead:
        coming = ahead.submit(prepare, ranges[0])
        for following in ranges[1:]:
            prepared = coming.result()
            coming = ahead.submit(prepare, following)
            yield step(prepared)
        yield step(coming.result())


def _count(run: RunState, sums: npt.NDArray[np.float64]) -> None:
    """Take in the sums of steps, and end the run where they say so."""
    at, history = run.at, run.history
    for loss, correct, images in sums.tolist():
        at.step += 1
        at.loss += loss
        at.correct += correct
        at.images += images
        if not math.isfinite(loss):
            _end_diverged(run, f"the loss became {loss}")
            return
        reason = run.watch.learning.update(loss / images, correct, images)
        if reason is not None and history.ended is None:
            history.end(Ending.NOT_LEARNING, f"it does not learn: {reason}")
    history.images += int(sums[:, 2].sum())


def _end_diverged(run: RunState, what: str) -> None:
    rate = float(run.schedule(run.optimizer.iterations.numpy()))
    line = f"{what} at step {run.at.step} of epoch {run.at.epoch + 1}, at a learning rate of {rate:.3g}"
    if math.isnan(run.watch.best.value):
        raise DivergedError(f"{run.name}: {line}. Lower optimizer.learning_rate or set optimizer.clip_norm.")
    run.history.end(Ending.DIVERGED, f"{line}; the best weights before that are kept")


def _predict(run: RunState, forward: Forward, valid: Judged) -> tuple[npt.NDArray[np.float32], list[Array]]:
    """Return the probabilities of the validation split with the weights that gave them.

    With an average of the weights it is the average that is judged and kept; training goes on from the
    weights themselves.
    """
    trained = run.model.trainable_variables
    averaged = run.config.optimizer.ema is not None
    raw = values_of(trained) if averaged else []
    if averaged:
        run.optimizer.finalize_variable_values(trained)
    predicted = forward.probabilities(valid.inputs)
    weights = run.weights()
    if averaged:
        assign(trained, raw)
    return predicted, weights


def _add_row(run: RunState, metrics: dict[str, float]) -> dict[str, Any]:
    """Add the epoch to the history, and return its row."""
    at, history = run.at, run.history
    step = int(run.optimizer.iterations.numpy())
    row: dict[str, Any] = {
        "phase": history.phase,
        "epoch": at.epoch + 1,
        "step": step,
        "loss": at.loss / at.images,
        "accuracy": at.correct / at.images,
        **metrics,
        "learning_rate": float(run.schedule(step - 1)),
        "seconds": history.seconds,
    }
    history.rows.append(row)
    return row


def _decide(run: RunState, row: dict[str, Any], weights: list[Array], *, asked_to_stop: bool) -> None:
    """Do what follows from an epoch: keep its weights, lower the rate, end the run."""
    history = run.history
    verdict = run.watch.end_epoch(row["epoch"], row)
    if verdict.keep:
        run.best_weights = weights
    best = run.watch.best
    history.best_epoch, history.best_value, history.best_loss = best.epoch, best.value, best.loss
    if verdict.lower_rate:
        run.schedule.factor.assign(run.watch.rate_factor)
        factor = run.watch.rate_factor
        log(f"{run.name}: {history.monitor} is on a plateau; the rate is now {factor:.3g} of its schedule")
    if history.ended is not None:
        return
    if verdict.stop:
        patience = run.config.callbacks.early_stopping_patience
        message = f"no better {history.monitor} in {patience} epochs (the best: epoch {history.best_epoch})"
        _end_naturally(run, Ending.NO_IMPROVEMENT, message)
    elif asked_to_stop:
        history.end(Ending.BY_CALLER, "its caller ended it")


def _end_naturally(run: RunState, ending: Ending, message: str) -> None:
    """End a run that nothing has stopped, and say so where it has learnt nothing but its training images by heart."""
    reason = run.watch.learning.verdict()
    if reason is None:
        run.history.end(ending, message)
    else:
        run.history.end(Ending.NOT_LEARNING, f"it does not learn: {reason}; {message}")


def _note(run: RunState) -> str:
    at, rows = run.at, run.history.rows
    parts = [f"epoch {at.epoch + 1 if at.images else at.epoch}/{run.config.epochs}"]
    if at.images:
        parts.append(f"loss {at.loss / at.images:.4f}")
    elif rows:
        parts.append(f"loss {rows[-1]['loss']:.4f}")
    if rows:
        parts.append(f"{run.history.monitor} {rows[-1][run.history.monitor]:.4f}")
    return ", ".join(parts)


@contextlib.contextmanager
def _synchronized_statistics(model: keras.Model) -> Iterator[None]:
    """On several devices, have batch normalisation see the whole batch, as on one."""
    several = model.distribute_strategy.num_replicas_in_sync > 1
    layers = [
        layer
        for layer in model._flatten_layers()
        if several and isinstance(layer, keras.layers.BatchNormalization) and not layer.synchronized
    ]
    for layer in layers:
        layer.synchronized = True
    try:
        yield
    finally:
        for layer in layers:
            layer.synchronized = False
