"""The training loop: what it learns, judges, keeps, stops for, and how it resumes."""

from __future__ import annotations

import math
import re
import signal
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from assay.config import RuntimeConfig, TrainConfig
from assay.data.dataset import Dataset
from assay.measures.ranking import SortedScores
from assay.runtime import apply_runtime
from assay.training.checkpoint import Checkpoint
from assay.training.fit import DivergedError, fit
from assay.training.history import Ending, History
from assay.training.inputs import Batches
from assay.training.metrics import validation_metrics


@dataclass
class Given:
    """Inputs and labels to judge on."""

    inputs: np.ndarray
    labels: np.ndarray


# A phase that no epoch can beat.
PERFECT = History("before", "val_auc", best_epoch=1, best_value=1.0, best_loss=0.0)


def network(outputs: int = 2, dropout: float = 0.3, l2: float = 0.0) -> keras.Model:
    keras.utils.set_random_seed(3)
    inputs = keras.Input((32, 32, 3), dtype="float32")
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.AveragePooling2D(4)(x)
    x = keras.layers.Conv2D(8, 3, activation="relu", kernel_regularizer=keras.regularizers.L2(l2))(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dropout(dropout, seed=5)(x)
    activation = "sigmoid" if outputs == 1 else "softmax"
    x = keras.layers.Dense(outputs, activation=activation, dtype="float32")(x)
    return keras.Model(inputs, x, name="small")


def train(
    spots: Dataset,
    model: keras.Model,
    changes: dict[str, Any],
    runtime: RuntimeConfig | None = None,
    store: Path | str | None = None,
    **options: Any,
) -> History:
    values = {"epochs": 3, "batch_size": 32, "optimizer": {"learning_rate": 3e-3}, **changes}
    config = TrainConfig.model_validate(values)
    batches = Batches(spots.train.inputs, spots.train.labels, config.batch_size, seed=1, shuffle=True, workers=1)
    arguments: dict[str, Any] = {"phase": "train", "seed": 0, **options}
    arguments["checkpoint"] = None if store is None else Checkpoint(str(store), "train")
    return fit(model, batches, spots.valid, config, runtime or RuntimeConfig(precision="float32"), **arguments)


def weights_of(model: keras.Model) -> list[np.ndarray]:
    return [np.array(variable) for variable in model.variables]


@pytest.mark.parametrize(
    ("outputs", "changes"),
    [
        (2, {}),
        (1, {}),
        (1, {"label_smoothing": 0.1}),
        (2, {"label_smoothing": 0.1, "class_weights": "balanced"}),
        (2, {"optimizer": {"name": "sgd", "learning_rate": 0.02, "momentum": 0.9, "nesterov": True}}),
    ],
)
def test_every_output_and_loss_learns(spots: Dataset, outputs: int, changes: dict[str, Any]) -> None:
    apply_runtime(RuntimeConfig(precision="float32"), 0)
    history = train(spots, network(outputs), {"epochs": 6, **changes})
    assert history.best_value > 0.9
    assert history.rows[-1]["loss"] < history.rows[0]["loss"]
    assert [row["step"] for row in history.rows] == [7, 14, 21, 28, 35, 42]


def test_the_loss_is_that_of_keras(spots: Dataset) -> None:
    """One step of plain gradient descent must move the weights as Keras's own fit does."""
    apply_runtime(RuntimeConfig(precision="float32"), 0)
    ours, theirs = network(dropout=0.0, l2=0.01), network(dropout=0.0, l2=0.01)
    train(
        spots,
        ours,
        {
            "epochs": 1,
            "batch_size": 200,
            "optimizer": {"name": "sgd", "learning_rate": 0.1},
            "class_weights": "balanced",
        },
    )
    theirs.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy())
    counts = np.bincount(spots.train.labels)
    factors = {index: 200 / 2 / count for index, count in enumerate(counts)}
    theirs.fit(spots.train.inputs[:], spots.train.labels, batch_size=200, verbose=0, class_weight=factors)
    for one, other in zip(weights_of(ours), weights_of(theirs), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-6)


def test_validation_metrics_are_exact() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 400)
    scores = np.round(random.uniform(size=400) * 0.6 + 0.3 * labels, 2)
    metrics = validation_metrics(labels, np.stack([1 - scores, scores], axis=1).astype(np.float64))
    ranking = SortedScores(labels == 1, scores)
    assert metrics["auc"] == ranking.auc(ranking.ones)
    assert metrics["accuracy"] == np.mean((scores > 0.5) == labels)
    expected = -np.where(labels == 1, np.log(scores.clip(1e-7)), np.log((1 - scores).clip(1e-7))).mean()
    assert metrics["loss"] == pytest.approx(expected)
    three = validation_metrics(np.array([0, 1, 2, 2]), np.eye(3)[[0, 1, 2, 2]])
    assert three == {"loss": pytest.approx(0, abs=1e-6), "accuracy": 1.0, "auc": 1.0}


def test_the_best_epochs_weights_are_left_in_the_model(spots: Dataset) -> None:
    apply_runtime(RuntimeConfig(precision="float32"), 0)
    seen: list[list[np.ndarray]] = []
    model = network()

    def remember(row: dict[str, Any]) -> bool:
        seen.append(weights_of(model))
        return False

    history = train(spots, model, {"epochs": 4, "optimizer": {"learning_rate": 0.1}}, on_epoch=remember)
    for kept, then in zip(weights_of(model), seen[history.best_epoch - 1], strict=True):
        np.testing.assert_array_equal(kept, then)
    assert history.best_value == max(row["val_auc"] for row in history.rows)


def test_starting_weights_stay_where_no_epoch_beats_them(spots: Dataset) -> None:
    model = network()
    before = weights_of(model)
    history = train(spots, model, {"epochs": 1}, before=PERFECT)
    assert (history.best_epoch, history.best_value) == (0, 1.0)
    for one, other in zip(before, weights_of(model), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_average_of_the_weights_is_what_is_judged_and_kept(spots: Dataset) -> None:
    apply_runtime(RuntimeConfig(precision="float32"), 0)
    model = network()
    config = {"epochs": 2, "optimizer": {"learning_rate": 3e-3, "ema": 0.9}}
    history = train(spots, model, config)
    from assay.training.compiled import Forward

    judged = validation_metrics(spots.valid.labels, Forward(model).probabilities(spots.valid.inputs))
    assert judged["auc"] == pytest.approx(history.best_value)
    plain = network()
    train(spots, plain, {"epochs": 2, "optimizer": {"learning_rate": 3e-3}})
    assert not np.allclose(weights_of(model)[0], weights_of(plain)[0], atol=1e-5)


def test_early_stopping_and_plateaus_follow_the_monitor(spots: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    changes = {
        "epochs": 9,
        "optimizer": {"learning_rate": 1e-9, "schedule": "cosine"},
        "callbacks": {
            "monitor": "val_accuracy",
            "early_stopping_patience": 4,
            "reduce_on_plateau_patience": 2,
            "not_learning_steps": None,
        },
    }
    # At so low a rate only the statistics of batch normalisation move.
    history = train(spots, network(), changes, before=PERFECT)
    assert len(history.rows) == 4
    assert history.ended is Ending.NO_IMPROVEMENT
    assert "no better val_accuracy in 4 epochs" in history.message
    assert "stopped in epoch 4 of 9" in capsys.readouterr().out
    third, fourth = history.rows[2]["learning_rate"], history.rows[3]["learning_rate"]
    cosine = [5e-10 * (1 + math.cos(math.pi * step / 63)) for step in (20, 27)]
    assert third == pytest.approx(0.5 * cosine[0], rel=1e-3)
    assert fourth == pytest.approx(0.5 * cosine[1], rel=1e-3)


def test_a_run_that_learns_nothing_is_stopped_and_says_so(spots: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    noise = np.random.default_rng(0)
    labels = noise.integers(0, 2, 2000)
    images = noise.integers(0, 256, (2000, 32, 32, 3), dtype=np.uint8)
    config = TrainConfig.model_validate(
        {"epochs": 50, "batch_size": 50, "optimizer": {"name": "sgd", "learning_rate": 1e-6}}
        | {"callbacks": {"not_learning_steps": 60}}
    )
    model = network(dropout=0.0)
    batches = Batches(images, labels, 50, shuffle=True, workers=1)
    runtime = RuntimeConfig(precision="float32")
    history = fit(model, batches, spots.valid, config, runtime, phase="train", seed=0)
    assert history.ended is Ending.NOT_LEARNING
    assert len(history.rows) < 10
    assert "it does not learn: over 60 steps the loss stayed at" in history.message
    assert "and the validation AUC is 0." in history.message
    assert "does not learn" in capsys.readouterr().out


def test_a_run_that_learns_its_images_by_heart_alone_is_named_at_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    noise = np.random.default_rng(0)

    def drawn(count: int) -> tuple[np.ndarray, np.ndarray]:
        return noise.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8), noise.integers(0, 2, count)

    images, labels = drawn(100)
    valid = Given(*drawn(400))
    config = TrainConfig.model_validate(
        {"epochs": 6, "optimizer": {"learning_rate": 3e-3}, "callbacks": {"not_learning_steps": 24}}
    )
    batches = Batches(images, labels, 25, shuffle=True, workers=1)
    runtime = RuntimeConfig(precision="float32")
    history = fit(network(dropout=0.0), batches, valid, config, runtime, phase="train", seed=0)
    assert history.rows[-1]["loss"] < 0.9 * history.rows[0]["loss"]
    assert (history.ended, len(history.rows)) == (Ending.NOT_LEARNING, 6)
    assert "in its last 3 epochs the validation AUC was never above 0." in history.message
    assert "stopped in epoch 6 of 6: it does not learn" in capsys.readouterr().out


def test_a_loss_that_is_not_finite_ends_the_run_in_one_line(spots: Dataset) -> None:
    with pytest.raises(DivergedError, match=r"small: .* at step \d+ of epoch 1, .*Lower optimizer\.learning_rate"):
        train(
            spots, network(), {"batch_size": 4, "optimizer": {"name": "sgd", "learning_rate": 10.0, "momentum": 0.99}}
        )


def test_a_run_that_diverges_later_keeps_its_best_epoch(spots: Dataset) -> None:
    model = network()

    def ruin(row: dict[str, Any]) -> bool:
        if row["epoch"] == 2:
            model.trainable_weights[0].assign(np.full(model.trainable_weights[0].shape, np.inf))
        return False

    history = train(spots, model, {"epochs": 5}, on_epoch=ruin)
    assert len(history.rows) == 2
    assert history.ended is Ending.DIVERGED
    assert "the best weights before that are kept" in history.message
    assert all(np.isfinite(weight).all() for weight in weights_of(model))


def test_steps_in_one_call_train_alike(spots: Dataset, exact: RuntimeConfig) -> None:
    apply_runtime(exact, 0)
    one, several = network(), network()
    changes = {"epochs": 2}
    first = train(spots, one, changes, exact.model_copy(update={"steps_per_execution": 1}))
    second = train(spots, several, changes, exact.model_copy(update={"steps_per_execution": 4}))
    # TensorFlow fuses operations inside a loop otherwise, so the last bits may differ.
    for row, other in zip(first.rows, second.rows, strict=True):
        assert row["step"] == other["step"]
        assert row["loss"] == pytest.approx(other["loss"], rel=1e-5)
    for weight, other in zip(weights_of(one), weights_of(several), strict=True):
        np.testing.assert_allclose(weight, other, atol=1e-4)


RESUMED: dict[str, Any] = {
    "epochs": 5,
    "optimizer": {"name": "adamw", "learning_rate": 3e-3, "schedule": "cosine", "warmup_steps": 5, "ema": 0.9},
    "callbacks": {"reduce_on_plateau_patience": 1, "not_learning_steps": 20},
}
# A run in a process of its own: arguments are the data, the store, the result, minutes between checkpoints,
# and whether to be killed in the middle of the third epoch.
PROGRAM = """
    import os, signal, sys
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    import numpy as np
    import test_fit
    from assay.config import RuntimeConfig
    from assay.data.dataset import Dataset
    from assay.training.inputs import Batches
    from assay.runtime import apply_runtime

    data, store, result, minutes, fate = sys.argv[1:]

    class Mortal(Batches):
        def __getitem__(self, index):
            if fate == "killed" and (self.epoch, index) == (2, 4):
                os.kill(os.getpid(), signal.SIGKILL)
            return super().__getitem__(index)

    test_fit.Batches = Mortal
    runtime = RuntimeConfig(precision="float32", deterministic=True, workers=2, checkpoint_minutes=float(minutes))
    apply_runtime(runtime, 0)
    model = test_fit.network()
    history = test_fit.train(Dataset.open(Path(data)), model, test_fit.RESUMED, runtime, store=store)
    rows = [[row[key] for key in sorted(row) if key not in ("seconds", "phase")] for row in history.rows]
    np.savez(result, *test_fit.weights_of(model), rows=np.array(rows))
"""


def _run_apart(spots: Dataset, store: Path, result: Path, minutes: float, fate: str) -> subprocess.CompletedProcess:
    program = textwrap.dedent(PROGRAM).format(tests=str(Path(__file__).parent))
    arguments = [str(spots.root), str(store), str(result), str(minutes), fate]
    return subprocess.run([sys.executable, "-c", program, *arguments], check=False, capture_output=True, text=True)


def test_a_killed_run_goes_on_to_the_same_weights_bit_by_bit(spots: Dataset, tmp_path: Path) -> None:
    done = _run_apart(spots, tmp_path / "straight", tmp_path / "straight.npz", 60, "spared")
    assert done.returncode == 0, done.stderr
    straight = np.load(tmp_path / "straight.npz")
    assert len(straight["rows"]) == 5
    # A checkpoint after every step, and one at the end of each epoch only.
    for minutes, line in ((1e-6, r"continued from epoch 3, step [1-4]\n"), (60, r"continued from epoch 3, step 0\n")):
        store, result = tmp_path / f"store{minutes}", tmp_path / f"resumed{minutes}.npz"
        done = _run_apart(spots, store, result, minutes, "killed")
        assert done.returncode == -signal.SIGKILL, done.stderr
        done = _run_apart(spots, store, result, minutes, "spared")
        assert done.returncode == 0, done.stderr
        assert re.search(line, done.stdout)
        resumed = np.load(result)
        for name in straight.files:
            np.testing.assert_array_equal(straight[name], resumed[name])


def test_a_run_interrupted_between_its_last_step_and_the_epochs_end_resumes_too(
    spots: Dataset, exact: RuntimeConfig, tmp_path: Path
) -> None:
    runtime = exact.model_copy(update={"checkpoint_minutes": 1e-6})
    apply_runtime(runtime, 0)

    def interrupt(row: dict[str, Any]) -> bool:
        if row["epoch"] == 2:
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        train(spots, network(), {}, runtime, store=tmp_path, on_epoch=interrupt)
    resumed, straight = network(), network()
    history = train(spots, resumed, {}, runtime, store=tmp_path)
    assert [row["step"] for row in history.rows] == [7, 14, 21]
    train(spots, straight, {}, runtime)
    for one, other in zip(weights_of(resumed), weights_of(straight), strict=True):
        np.testing.assert_array_equal(one, other)


def test_half_precision_judges_as_single_precision_does(spots: Dataset) -> None:
    values = {}
    try:
        for precision in ("float32", "mixed_bfloat16"):
            runtime = RuntimeConfig.model_validate({"precision": precision})
            apply_runtime(runtime, 0)
            model = network()
            assert model.output.dtype == "float32"
            values[precision] = train(spots, model, {"epochs": 4}, runtime)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert values["mixed_bfloat16"].best_value == pytest.approx(values["float32"].best_value, abs=0.02)
    for single, half in zip(values["float32"].rows, values["mixed_bfloat16"].rows, strict=True):
        assert half["loss"] == pytest.approx(single["loss"], abs=0.03)


def test_a_finished_phase_is_not_trained_again(spots: Dataset, exact: RuntimeConfig, tmp_path: Path) -> None:
    apply_runtime(exact, 0)
    first, again = network(), network()
    history = train(spots, first, {}, exact, store=tmp_path)
    repeated = train(spots, again, {}, exact, store=tmp_path)
    assert repeated == history
    for one, other in zip(weights_of(first), weights_of(again), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_checkpoint_of_another_run_or_a_damaged_one_is_not_used(
    spots: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(spots, network(), {"epochs": 1}, store=tmp_path)
    other = train(spots, network(), {"epochs": 2}, store=tmp_path)
    assert len(other.rows) == 2
    assert "is of another run" in capsys.readouterr().out
    path = Path(Checkpoint(str(tmp_path), "train").uri)
    path.write_bytes(path.read_bytes()[:-1000])
    again = train(spots, network(), {"epochs": 2}, store=tmp_path)
    assert len(again.rows) == 2
    assert "damaged" in capsys.readouterr().out
