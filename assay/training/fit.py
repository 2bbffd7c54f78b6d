"""The training loop: steps, validation once an epoch, what watches the run, and exact resume.

One loop of our own rather than `keras.Model.fit`: a run killed at any moment goes on bit by bit as if it had not
been, which needs the step within the epoch, the watchers' state and the best weights in one checkpoint.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import numpy.typing as npt

from assay.config import RuntimeConfig, TrainConfig
from assay.errors import AssayError
from assay.hashing import hash_json
from assay.measures.ranking import SortedScores
from assay.observability.progress import Progress, log
from assay.runtime import resolve_steps_per_execution, use_jit
from assay.training.callbacks import Best, NotLearning, Watch
from assay.training.checkpoint import Checkpoint, TrainingState
from assay.training.compiled import Forward, Prepared, TrainStep
from assay.training.history import History
from assay.training.inputs import Batches
from assay.training.optimizers import build_optimizer, schedule_of

Array = npt.NDArray[Any]
TAIL_SUFFIX = "_tail"  # of the models that `split_at` makes
# What ended a run that nothing went wrong with.
ALL_EPOCHS_DONE, ENDED_BY_CALLER = "all epochs are done", "its caller ended it"


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
    checkpoint_dir: Path | str | None,
    seed: int,
    initial_best: float = math.nan,
    judge: keras.Model | None = None,
    on_epoch: OnEpoch | None = None,
) -> History:
    """Train a model and leave the best epoch's weights in it.

    Args:
        model: Raw inputs in, probabilities out; under the strategy that it was built with.
        train: The training batches; their order and augmentation depend on (seed, epoch) alone.
        valid: Inputs and labels on which each epoch is judged.
        config: Epochs, optimizer, watchers, class weights, label smoothing.
        runtime: XLA, steps in one call, minutes between checkpoints.
        phase: Names the run in the history, the progress and the checkpoint.
        checkpoint_dir: Local directory or ``gs://`` prefix of checkpoints, see `checkpoint_location`; None: none.
            The finished phase stays there, so that a later phase resumes without training this one again.
        seed: Of the run; it is part of the checkpoint's identity.
        initial_best: The monitored metric of the weights that training begins with, nan if unknown: they are
            kept where no epoch beats it.
        judge: What ``valid`` is the input of, where that is not the model: a tail that shares its layers.
        on_epoch: Told each epoch's row of the history; returning True ends the run. A run that ended so asks again
            when it is resumed, and goes on where the answer has changed.

    Returns:
        What happened.

    Raises:
        DivergedError: The loss was not finite before any epoch was finished.
    """
    history = History(phase, config.callbacks.monitor, best_value=initial_best)
    if config.epochs == 0:
        history.ended = "no epochs were asked for"
        return history
    checkpoint = None if checkpoint_dir is None else Checkpoint(str(checkpoint_dir), phase)
    with _synchronized_statistics(model):
        run = _Run(model, judge or model, train, valid, config, runtime, history, checkpoint, seed)
        run.resume(on_epoch)
        run.train(on_epoch)
    return history


def is_finished(checkpoint_dir: Path | str | None, phase: str) -> bool:
    """Return whether a phase has been trained to its end and only needs its weights back."""
    state = None if checkpoint_dir is None else Checkpoint(str(checkpoint_dir), phase).load()
    return state is not None and bool(state.values["history"]["ended"])


def validation_metrics(labels: Array, probabilities: Array) -> dict[str, float]:
    """Return loss, accuracy and AUC of predictions, exact over the whole split.

    Args:
        labels: Class indices (N,).
        probabilities: (N, K).

    Returns:
        ``loss`` (cross-entropy), ``accuracy`` (of the most probable class) and ``auc`` (of more than two
        classes: the mean over classes of each against the rest).
    """
    # Keras's own limit inside its losses.
    of_truth = np.clip(probabilities[np.arange(len(labels)), labels].astype(np.float64), keras.backend.epsilon(), 1.0)
    classes = [1] if probabilities.shape[1] == 2 else range(probabilities.shape[1])
    rankings = [SortedScores(labels == index, probabilities[:, index]) for index in classes]
    areas = [area for area in (ranking.auc(ranking.ones) for ranking in rankings) if not math.isnan(area)]
    return {
        "loss": float(-np.log(of_truth).mean()),
        "accuracy": float((probabilities.argmax(axis=1) == labels).mean()),
        "auc": float(np.mean(areas)) if areas else math.nan,
    }


def class_weights(config: TrainConfig, counts: Array) -> npt.NDArray[np.float64]:
    """Return the factor of each class in the loss: 1, or total / (classes * count) where balance is asked for."""
    if config.class_weights == "none":
        return np.ones(len(counts))
    return counts.sum() / (len(counts) * np.maximum(counts, 1))


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


@dataclass
class _Position:
    """Where a run stands: the epoch (from 0), the steps of it that are done, and their sums."""

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    correct: float = 0.0
    images: float = 0.0


class _Run:
    """One phase between its start and its end; all that changes while it runs is here."""

    def __init__(
        self,
        model: keras.Model,
        judge: keras.Model,
        train: Batches,
        valid: Judged,
        config: TrainConfig,
        runtime: RuntimeConfig,
        history: History,
        checkpoint: Checkpoint | None,
        seed: int,
    ) -> None:
        self.model, self.batches, self.valid, self.config = model, train, valid, config
        self.history, self.checkpoint = history, checkpoint
        name = model.name.removesuffix(TAIL_SUFFIX)
        self.name = name if history.phase == "train" else f"{name}, {history.phase}"
        self.at = _Position()
        counts = np.bincount(train.labels, minlength=max(2, model.output_shape[-1]))
        weights = class_weights(config, counts)
        self.watch = Watch(
            config.callbacks,
            Best(history.monitor, history.best_value),
            NotLearning(counts / counts.sum(), config.callbacks.not_learning_steps, weights, config.label_smoothing),
        )
        strategy = model.distribute_strategy
        with strategy.scope():
            optimizer = build_optimizer(config.optimizer, config.epochs * len(train))
            if any(layer.compute_dtype == "float16" for layer in model._flatten_layers()):
                optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        self.optimizer, self.schedule = optimizer, schedule_of(optimizer)
        jit = use_jit(runtime)
        self.step = TrainStep(
            model,
            optimizer,
            class_weights=weights,
            label_smoothing=config.label_smoothing,
            strategy=strategy,
            jit=jit,
        )
        self.forward = Forward(judge, jit=jit)
        self.steps_at_once = resolve_steps_per_execution(runtime)
        self.checkpoint_seconds = 60 * runtime.checkpoint_minutes
        self.variables = _changing_variables(model)
        # The starting weights are the best until an epoch beats what is known of them.
        self.best_weights = _values(self.variables)
        self.identity = hash_json(
            [config.fingerprint(), seed, len(train.labels), [[v.name, list(v.shape)] for v in self.variables]]
        )

    def train(self, on_epoch: OnEpoch | None) -> None:
        """Run epochs until something ends the run, and leave the best weights in the model."""
        total = self.config.epochs * len(self.batches.labels)
        if not self.history.ended:
            with Progress(f"train {self.name}", total=total, unit="images") as progress:
                progress.advance(self.history.images)
                while not self.history.ended:
                    self._train_epoch(progress)
                    self._end_epoch(on_epoch)
                    progress.note(self._note())
                    self._save()
        _assign(self.variables, self.best_weights)
        if self.history.ended not in (ALL_EPOCHS_DONE, ENDED_BY_CALLER):
            log(f"{self.name}: stopped in epoch {self.at.epoch + 1} of {self.config.epochs}: {self.history.ended}")

    def _train_epoch(self, progress: Progress) -> None:
        at, history = self.at, self.history
        self.batches.set_epoch(at.epoch)
        clock = saved = time.perf_counter()
        for group in self._groups():
            results = self.step(group)
            for loss, correct, images in results.tolist():
                at.step += 1
                at.loss += loss
                at.correct += correct
                at.images += images
                if not math.isfinite(loss):
                    self._end_diverged(f"the loss became {loss}")
                    return
                reason = self.watch.learning.update(loss / images, correct, images)
                if reason is not None and not history.not_learning:
                    history.not_learning, history.ended = True, f"it does not learn: {reason}"
            seen = int(results[:, 2].sum())
            history.images += seen
            now = time.perf_counter()
            history.seconds += now - clock
            history.step_seconds += now - clock
            clock = now
            progress.note(self._note())
            progress.advance(seen)
            if history.ended:
                return
            if now - saved > self.checkpoint_seconds:
                self._save()
                clock = saved = time.perf_counter()

    def _groups(self) -> Iterator[Prepared]:
        """Yield what is left of the epoch, as many batches of one size together as run in one call.

        The next ones are brought to the devices while a step runs.
        """
        full = len(self.batches.labels) // self.batches.batch_size
        ranges = []
        index = self.at.step
        while index < len(self.batches):
            count = min(self.steps_at_once, full - index) if index < full else 1
            ranges.append(range(index, index + count))
            index += count

        if not ranges:  # interrupted between the last step and the epoch's end
            return

        def prepare(group: range) -> Prepared:
            return self.step.prepare([self.batches[position] for position in group])

        with ThreadPoolExecutor(1, thread_name_prefix="prepare") as ahead:
            coming = ahead.submit(prepare, ranges[0])
            for following in ranges[1:]:
                prepared = coming.result()
                coming = ahead.submit(prepare, following)
                yield prepared
            yield coming.result()

    def _end_epoch(self, on_epoch: OnEpoch | None) -> None:
        """Judge the epoch and decide what follows from it."""
        at, history = self.at, self.history
        diverged = bool(history.ended) and not history.not_learning
        started = time.perf_counter()
        if not diverged:
            judged = self._judge()
            if judged is None:
                self._end_diverged("the predictions became nan")
            else:
                metrics, weights = judged
                history.seconds += time.perf_counter() - started
                self._add_row(metrics, weights, on_epoch)
        if not history.ended:
            self.at = _Position(epoch=at.epoch + 1)
            if self.at.epoch == self.config.epochs:
                history.ended = ALL_EPOCHS_DONE

    def _judge(self) -> tuple[dict[str, float], list[Array]] | None:
        """Return the validation metrics with the weights that have them; None where predictions are not finite.

        With an average of the weights it is the average that is judged and kept; training goes on from the
        weights themselves.
        """
        averaged = self.config.optimizer.ema is not None
        raw = _values(self.model.trainable_variables) if averaged else []
        if averaged:
            self.optimizer.finalize_variable_values(self.model.trainable_variables)
        predicted = self.forward.probabilities(self.valid.inputs)
        weights = _values(self.variables)
        if averaged:
            _assign(self.model.trainable_variables, raw)
        if not np.isfinite(predicted).all():
            return None
        return {
            f"val_{name}": value for name, value in validation_metrics(self.valid.labels, predicted).items()
        }, weights

    def _add_row(self, metrics: dict[str, float], weights: list[Array], on_epoch: OnEpoch | None) -> None:
        at, history = self.at, self.history
        step = int(self.optimizer.iterations.numpy())
        row: dict[str, Any] = {
            "phase": history.phase,
            "epoch": at.epoch + 1,
            "step": step,
            "loss": at.loss / at.images,
            "accuracy": at.correct / at.images,
            **metrics,
            "learning_rate": float(self.schedule(step - 1)),
            "seconds": history.seconds,
        }
        history.rows.append(row)
        verdict = self.watch.end_epoch(at.epoch + 1, metrics)
        if verdict.improved:
            self.best_weights = weights
        history.best_epoch, history.best_value = self.watch.best.epoch, self.watch.best.value
        if verdict.lower_rate:
            self.schedule.factor.assign(self.watch.rate_factor)
            factor = self.watch.rate_factor
            log(f"{self.name}: {history.monitor} is on a plateau; the rate is now {factor:.3g} of its schedule")
        asked_to_stop = on_epoch is not None and on_epoch(row)
        if verdict.stop and not history.ended:
            patience = self.config.callbacks.early_stopping_patience
            history.ended = f"no better {history.monitor} in {patience} epochs (the best: epoch {history.best_epoch})"
        elif asked_to_stop and not history.ended:
            history.ended = ENDED_BY_CALLER

    def _end_diverged(self, what: str) -> None:
        rate = float(self.schedule(self.optimizer.iterations.numpy()))
        line = f"{what} at step {self.at.step} of epoch {self.at.epoch + 1}, at a learning rate of {rate:.3g}"
        if math.isnan(self.watch.best.value):
            raise DivergedError(f"{self.name}: {line}. Lower optimizer.learning_rate or set optimizer.clip_norm.")
        self.history.ended = f"{line}; the best weights before that are kept"

    def _note(self) -> str:
        at, rows = self.at, self.history.rows
        parts = [f"epoch {at.epoch + 1 if at.images else at.epoch}/{self.config.epochs}"]
        if at.images:
            parts.append(f"loss {at.loss / at.images:.4f}")
        elif rows:
            parts.append(f"loss {rows[-1]['loss']:.4f}")
        if rows:
            parts.append(f"{self.history.monitor} {rows[-1][self.history.monitor]:.4f}")
        return ", ".join(parts)

    def _save(self) -> None:
        if self.checkpoint is None:
            return
        arrays = {
            **{f"model/{number}": value for number, value in enumerate(_values(self.variables))},
            **{f"best/{number}": value for number, value in enumerate(self.best_weights)},
            **{f"optimizer/{number}": value for number, value in enumerate(_values(self.optimizer.variables))},
        }
        values = {
            "identity": self.identity,
            "at": asdict(self.at),
            "history": asdict(self.history),
            "watch": self.watch.state(),
        }
        self.checkpoint.save(TrainingState(arrays, values))

    def resume(self, on_epoch: OnEpoch | None) -> None:
        """Take up the run where its checkpoint left it, if there is one."""
        state = None if self.checkpoint is None else self.checkpoint.load()
        if state is None or self.checkpoint is None:
            return
        if state.values["identity"] != self.identity:
            log(f"{self.checkpoint.uri}: the checkpoint is of another run; training starts over.")
            return
        self.at = _Position(**state.values["at"])
        for name, value in state.values["history"].items():
            setattr(self.history, name, value)
        self.watch.restore(state.values["watch"])
        self.schedule.factor.assign(self.watch.rate_factor)
        _assign(self.variables, _numbered(state.arrays, "model"))
        _assign(self.optimizer.variables, _numbered(state.arrays, "optimizer"))
        self.best_weights = _numbered(state.arrays, "best")
        unfinished = self.history.ended == ENDED_BY_CALLER and len(self.history.rows) < self.config.epochs
        if unfinished and on_epoch is not None and not on_epoch(self.history.rows[-1]):
            self.history.ended = ""
            self.at = _Position(epoch=self.at.epoch + 1)
        if not self.history.ended:
            log(f"{self.name}: continued from epoch {self.at.epoch + 1}, step {self.at.step}")


def _changing_variables(model: keras.Model) -> list[Any]:
    """Return all state of a model that training changes: weights, statistics and seeds, not the frozen weights."""
    frozen = {id(weight) for layer in model._flatten_layers() if not layer.trainable for weight in layer.weights}
    return [variable for variable in model.variables if id(variable) not in frozen]


def _values(variables: Sequence[Any]) -> list[Array]:
    return [np.array(variable) for variable in variables]


def _assign(variables: Sequence[Any], values: Sequence[Array]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _numbered(arrays: dict[str, Array], kind: str) -> list[Array]:
    count = sum(name.startswith(f"{kind}/") for name in arrays)
    return [arrays[f"{kind}/{number}"] for number in range(count)]
