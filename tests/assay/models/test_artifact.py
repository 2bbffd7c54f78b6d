"""The model artifact: saved, loaded, served and updated without loss; damaged ones are one-line errors."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf

from assay.data.images import decode
from assay.errors import AssayError, InputError
from assay.hashing import hash_folder
from assay.measures.calibration import Calibration
from assay.models.artifact import copy_model, load_model, save_model, update_info
from assay.models.info import ModelInfo, read_info
from assay.predict import window_input

SHAPE = (24, 20, 3)


@pytest.fixture(autouse=True)
def float32() -> Iterator[None]:
    yield
    keras.config.set_dtype_policy("float32")


def small_model(shape: tuple[int, ...] = SHAPE, outputs: int = 2, policy: str = "float32") -> keras.Model:
    keras.utils.set_random_seed(1)
    keras.config.set_dtype_policy(policy)
    inputs = keras.Input(shape, dtype="float32")
    x = keras.layers.Rescaling(1 / 255)(inputs)
    if len(shape) == 3:
        x = keras.layers.Conv2D(8, 3, activation="relu")(x)
        x = keras.layers.GlobalAveragePooling2D()(x)
    else:
        x = keras.layers.Conv1D(8, 3, activation="relu")(x)
        x = keras.layers.GlobalAveragePooling1D()(x)
    activation = "sigmoid" if outputs == 1 else "softmax"
    x = keras.layers.Dense(outputs, activation=activation, dtype="float32")(x)
    return keras.Model(inputs, x)


def random_model(shape: tuple[int, ...] = SHAPE, outputs: int = 2, policy: str = "float32") -> keras.Model:
    """A model whose probabilities differ from image to image and stay away from 0 and 1."""
    model = small_model(shape, outputs, policy)
    rng = np.random.default_rng(0)
    examples = smooth_images(16, *shape[:2])[..., : shape[2]] if len(shape) == 3 else rng.normal(0, 300, (16, *shape))
    features = np.asarray(keras.Model(model.input, model.layers[-1].input)(examples), dtype=np.float64)
    kernel = rng.normal(0, 1, (features.shape[1], outputs)) / features.std(axis=0)[:, None].clip(1e-3)
    model.layers[-1].set_weights([kernel, -(features @ kernel).mean(axis=0)])
    return model


def info_for(**changes: object) -> ModelInfo:
    values = {"name": "small", "classes": ("normal", "tumor"), "input_shape": SHAPE} | changes
    return ModelInfo.model_validate(values)


def smooth_images(count: int, height: int = 48, width: int = 40) -> np.ndarray:
    rng = np.random.default_rng(7)
    coarse = rng.integers(0, 256, (count, 6, 5, 3), dtype=np.uint8)
    return np.stack([cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC) for image in coarse])


def encode(image: np.ndarray, suffix: str) -> bytes:
    return cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


def test_a_saved_model_predicts_the_same_after_loading(tmp_path: Path) -> None:
    model = random_model()
    images = smooth_images(5, *SHAPE[:2])
    stored = save_model(model, tmp_path / "m", info_for(config={"seed": 3}))
    loaded = load_model(tmp_path / "m")
    np.testing.assert_allclose(loaded.predict(images, batch_size=2), model(images), atol=1e-6)
    assert loaded.info == stored == read_info(tmp_path / "m")
    assert stored.parameters == model.count_params()
    assert stored.config == {"seed": 3}


def test_other_files_of_the_folder_stay_and_nothing_temporary_does(tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text("epoch\n")
    for _ in range(2):
        save_model(small_model(), tmp_path, info_for())
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "history.csv",
        "model.json",
        "model.keras",
        "saved_model",
    ]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp"])
def test_the_serving_signature_agrees_with_predict_on_the_same_files(tmp_path: Path, suffix: str) -> None:
    save_model(
        random_model(),
        tmp_path,
        info_for(calibration=Calibration(prior_shift=(0.3, 1.2), slopes=(0.6, 0.6), intercepts=(0.0, 0.4))),
    )
    files = [encode(smooth_images(3, 30 + i, 50 - i)[i], suffix) for i in range(3)]
    loaded = load_model(tmp_path)
    pixels = np.stack([decode(data, "rgb", SHAPE[:2], 10_000) for data in files])
    served = tf.saved_model.load(tmp_path / "saved_model").signatures["serving_default"](images=tf.constant(files))
    expected = loaded.predict(pixels)
    np.testing.assert_allclose(served["probabilities"], expected, atol=2e-3)
    assert np.ptp(expected[:, 0]) > 0.02, "the images must differ for the comparison to mean something"


FOUR = np.linspace(0.0, 1.0, 4)
CALIBRATIONS = {
    "temperature": Calibration(slopes=(2.0,) * 4),
    "scaling": Calibration(prior_shift=tuple(FOUR), slopes=tuple(0.5 + FOUR), intercepts=tuple(-FOUR)),
    "isotonic": Calibration(
        prior_shift=tuple(FOUR), curves=(((-2.0, -1.0), (-1.0, -0.9), (0.0, 1.0)), ((-1.0, 0.0),)) * 2
    ),
}


@pytest.mark.parametrize("calibration", CALIBRATIONS.values(), ids=list(CALIBRATIONS))
def test_sensor_models_serve_float_windows(tmp_path: Path, calibration: Calibration) -> None:
    model = random_model(shape=(16, 3), outputs=4)
    info = info_for(
        kind="sensor",
        input_shape=(16, 3),
        classes=("a", "b", "c", "d"),
        calibration=calibration,
        class_offsets=(0, 0.1, 0.2, 0.4),
    )
    save_model(model, tmp_path, info)
    windows = np.random.default_rng(0).normal(0, 300, (6, 16, 3)).astype(np.float32)
    served = tf.saved_model.load(tmp_path / "saved_model").signatures["serving_default"](windows=tf.constant(windows))
    loaded = load_model(tmp_path)
    expected = loaded.predict(windows)
    np.testing.assert_allclose(served["probabilities"], expected, atol=1e-5)
    assert [label.decode() for label in served["labels"].numpy()] == [info.classes[i] for i in loaded.decide(expected)]


def test_missing_values_of_windows_are_served_with_the_training_mean(tmp_path: Path) -> None:
    info = info_for(kind="sensor", input_shape=(16, 3), missing="mean", channel_means=(1.0, 2.0, 300.0))
    save_model(random_model(shape=(16, 3)), tmp_path, info)
    windows = np.random.default_rng(0).normal(0, 300, (2, 16, 3)).astype(np.float32)
    filled = windows.copy()
    windows[:, 4, 2], filled[:, 4, 2] = np.nan, 300.0
    served = tf.saved_model.load(tmp_path / "saved_model").signatures["serving_default"](windows=tf.constant(windows))
    np.testing.assert_allclose(served["probabilities"], load_model(tmp_path).predict(filled), atol=1e-5)
    with pytest.raises(ValueError, match="a value for each channel"):
        info_for(kind="sensor", input_shape=(16, 3), missing="mean", channel_means=(1.0,))


@pytest.mark.parametrize("steps", [2, 5, 16, 17])
def test_failures_of_a_sensor_are_served_as_files_are_predicted(tmp_path: Path, steps: int) -> None:
    info = info_for(
        kind="sensor",
        input_shape=(16, 6),
        missing="mean",
        channel_means=(1.0, 2.0, 300.0),
        missing_values=(0.0, -9.5),
        missing_flat_steps=steps,
        missing_mask=True,
    )
    save_model(random_model(shape=(16, 6)), tmp_path, info)
    windows = np.random.default_rng(0).normal(0, 300, (4, 16, 3)).astype(np.float32)
    windows[0, 2:5, 1], windows[0, 9, 2] = 0, -9.5
    windows[1, :5, 0] = 7.25
    windows[2, :, 2] = 3
    served = tf.saved_model.load(tmp_path / "saved_model").signatures["serving_default"](windows=tf.constant(windows))
    shown = np.stack([window_input(window, info) for window in windows])
    assert shown[..., 3:].sum() == 4 + 5 * (steps <= 5) + 16 * (steps <= 16)
    np.testing.assert_allclose(served["probabilities"], load_model(tmp_path).predict(shown), atol=1e-5)
    with pytest.raises(ValueError, match="an even number of channels"):
        info_for(kind="sensor", input_shape=(16, 3), missing_mask=True)


@pytest.mark.parametrize("missing", ["error", "interpolate"])
def test_missing_values_that_the_graph_cannot_fill_as_training_did_are_refused(tmp_path: Path, missing: str) -> None:
    info = info_for(kind="sensor", input_shape=(16, 3), missing=missing, channel_means=(1.0, 2.0, 300.0))
    save_model(random_model(shape=(16, 3)), tmp_path, info)
    windows = np.zeros((2, 16, 3), np.float32)
    serve = tf.saved_model.load(tmp_path / "saved_model").signatures["serving_default"]
    assert np.isfinite(serve(windows=tf.constant(windows))["probabilities"]).all()
    windows[1, 4, 2] = np.nan
    with pytest.raises(tf.errors.InvalidArgumentError, match="missing or infinite values are refused"):
        serve(windows=tf.constant(windows))


def test_one_image_that_is_refused_leaves_the_answers_of_the_others(tmp_path: Path) -> None:
    save_model(random_model(), tmp_path, info_for(classes=("a", "b")))
    good, other = (encode(image, ".png") for image in smooth_images(2, *SHAPE[:2]))
    damaged = other[:60] + bytes([other[60] ^ 1]) + other[61:]
    signatures = tf.saved_model.load(tmp_path / "saved_model").signatures
    alone = signatures["serving_default"](images=tf.constant([good, other]))
    answer = signatures["with_errors"](images=tf.constant([good, damaged, b"GIF89a", other, b""]))
    usable = [0, 3]
    np.testing.assert_allclose(answer["probabilities"].numpy()[usable], alone["probabilities"], atol=1e-6)
    np.testing.assert_array_equal(answer["labels"].numpy()[usable], alone["labels"])
    assert np.isnan(answer["probabilities"].numpy()[[1, 2, 4]]).all()
    errors = [error.decode().partition(".")[0] for error in answer["errors"].numpy()]
    assert errors == ["", "a truncated or broken PNG", "neither JPEG, PNG nor BMP", "", "neither JPEG, PNG nor BMP"]
    assert [label.decode() for label in answer["labels"].numpy()[[1, 2, 4]]] == ["", "", ""]
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"image 1 is refused: a truncated or broken PNG"):
        signatures["serving_default"](images=tf.constant([good, damaged, other]))


def test_a_model_built_under_mixed_precision_survives_and_answers_in_float32(tmp_path: Path) -> None:
    model = random_model(policy="mixed_bfloat16")
    save_model(model, tmp_path, info_for())
    keras.config.set_dtype_policy("float32")
    loaded = load_model(tmp_path)
    images = smooth_images(3, *SHAPE[:2])
    probabilities = loaded.predict(images)
    assert loaded.model.layers[2].compute_dtype == "bfloat16"
    assert probabilities.dtype == np.float32
    files = [encode(image, ".png") for image in images]
    served = tf.saved_model.load(tmp_path / "saved_model").signatures["serving_default"](images=tf.constant(files))
    np.testing.assert_allclose(served["probabilities"], probabilities, atol=2e-2)


def test_a_single_sigmoid_output_becomes_two_columns(tmp_path: Path) -> None:
    save_model(random_model(outputs=1), tmp_path, info_for(calibration=Calibration(slopes=(0.5, 0.5))))
    images = smooth_images(3, *SHAPE[:2])
    loaded = load_model(tmp_path)
    probabilities = loaded.predict(images)
    assert probabilities.shape == (3, 2)
    p = np.asarray(loaded.model(images))[:, 0].astype(float)
    np.testing.assert_allclose(probabilities[:, 1], 1 / (1 + np.exp(-np.log(p / (1 - p)) / 2)), rtol=1e-4)


def test_update_sets_threshold_and_calibration_in_the_info_and_in_the_serving_signature(tmp_path: Path) -> None:
    save_model(random_model(), tmp_path, info_for())
    before = load_model(tmp_path)
    images = smooth_images(4, *SHAPE[:2])
    plain = before.predict(images)
    calibration = Calibration(prior_shift=(-0.7, 2.2), slopes=(0.4, 0.4), intercepts=(0.0, -0.1))
    threshold = float(np.sort(calibration.apply(plain)[:, 1])[1:3].mean())
    updated = update_info(tmp_path, threshold=threshold, calibration=calibration)
    assert (updated.threshold, updated.calibration) == (threshold, calibration)
    loaded = load_model(tmp_path)
    np.testing.assert_allclose(loaded.predict(images), calibration.apply(plain), atol=1e-6)
    served = tf.saved_model.load(tmp_path / "saved_model").signatures["serving_default"](
        images=tf.constant([encode(image, ".png") for image in images])
    )
    np.testing.assert_allclose(served["probabilities"], loaded.predict(images), atol=1e-5)
    labels = [label.decode() for label in served["labels"].numpy()]
    assert sorted(labels) == ["normal", "normal", "tumor", "tumor"]
    assert labels == [updated.classes[index] for index in loaded.decide(loaded.predict(images))]


def test_the_threshold_belongs_to_the_positive_class_wherever_it_stands() -> None:
    info = info_for(positive_index=0, threshold=0.3)
    assert info.decide(np.array([[0.3, 0.7], [0.29, 0.71], [0.9, 0.1]])).tolist() == [0, 1, 0]
    assert info_for().positive_index == 1


def test_a_champion_of_earlier_versions_with_a_temperature_answers_as_it_did(tmp_path: Path) -> None:
    described = {"schema_version": 1, "name": "cnn3", "classes": ["a", "b"], "input_shape": [8, 8, 3]}
    (tmp_path / "model.json").write_text(json.dumps({**described, "temperature": 2.5}), encoding="utf-8")
    probabilities = np.array([[0.9, 0.1], [0.3, 0.7]])
    powers = probabilities ** (1 / 2.5)
    calibration = read_info(tmp_path).calibration
    np.testing.assert_allclose(calibration.apply(probabilities), powers / powers.sum(axis=1, keepdims=True), rtol=1e-5)
    (tmp_path / "model.json").write_text(json.dumps({**described, "temperature": 1.0}), encoding="utf-8")
    assert read_info(tmp_path).calibration.is_identity
    (tmp_path / "model.json").write_text(json.dumps({**described, "temperature": 0}), encoding="utf-8")
    with pytest.raises(AssayError, match="not a readable model description"):
        read_info(tmp_path)


def test_a_slope_below_one_makes_certainty_finite_and_smaller() -> None:
    certain = np.array([[1.0, 0.0], [0.8, 0.2]], dtype=np.float32)
    scaled = Calibration(slopes=(0.5, 0.5)).apply(certain)
    assert np.isfinite(scaled).all()
    assert scaled[1] == pytest.approx([2 / 3, 1 / 3])
    assert Calibration().apply(certain).tolist() == certain.tolist()


def test_copy_takes_the_model_alone(tmp_path: Path) -> None:
    save_model(small_model(), tmp_path / "a", info_for())
    (tmp_path / "a" / "curves.png").write_bytes(b"x")
    copy_model(tmp_path / "a", tmp_path / "b")
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == ["model.json", "model.keras", "saved_model"]
    assert load_model(tmp_path / "b").info == read_info(tmp_path / "a")


def test_a_candidate_gets_its_serving_signature_when_it_is_chosen(tmp_path: Path) -> None:
    stored = save_model(small_model(), tmp_path / "a", info_for(), served=False)
    assert stored.served_sha256 == ""
    assert not (tmp_path / "a" / "saved_model").exists()
    copy_model(tmp_path / "a", tmp_path / "b")
    chosen = update_info(tmp_path / "b", threshold=stored.threshold)
    assert chosen.served_sha256 == hash_folder(tmp_path / "b" / "saved_model")
    assert "serving_default" in tf.saved_model.load(tmp_path / "b" / "saved_model").signatures
    # Written again with another training, it is a candidate again.
    assert save_model(small_model(), tmp_path / "b", chosen, served=False).served_sha256 == ""


FULL_DISK = """
import pathlib, resource, signal, sys
import keras
from assay.errors import AssayError
from assay.models.artifact import ModelInfo, save_model, update_info
inputs = keras.Input((8, 8, 3))
x = keras.layers.Dense(100)(keras.layers.Flatten()(inputs))
model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(x))
info = ModelInfo(name="x", classes=("a", "b"), input_shape=(8, 8, 3))
folder = pathlib.Path(sys.argv[1])
save_model(model, folder / "whole", info)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
for action in (lambda: save_model(model, folder / "new", info), lambda: update_info(folder / "whole", threshold=0.9)):
    try:
        action()
    except AssayError as error:
        print("ERROR", error)
"""


def test_a_full_disk_is_one_line_and_leaves_what_was_there(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert [line for line in out.splitlines() if "cannot write" in line and "Free space" in line] == out.splitlines()
    assert len(out.splitlines()) == 2
    assert list((tmp_path / "new").iterdir()) == []
    assert load_model(tmp_path / "whole").info.threshold == 0.5
    assert sorted(path.name for path in (tmp_path / "whole").iterdir()) == ["model.json", "model.keras", "saved_model"]


class TestDamage:
    @pytest.fixture
    def saved(self, tmp_path: Path) -> Path:
        save_model(small_model(), tmp_path, info_for())
        return tmp_path

    def test_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no model here"):
            load_model(tmp_path / "nowhere")

    def test_missing_weights(self, saved: Path) -> None:
        (saved / "model.keras").unlink()
        with pytest.raises(InputError, match="no such file"):
            load_model(saved)

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"name": "x"}', "\ud800".encode("utf-16", "surrogatepass")])
    def test_unreadable_info(self, saved: Path, text: str | bytes) -> None:
        (saved / "model.json").write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(InputError, match="not a readable model description"):
            load_model(saved)

    def test_truncated_weights(self, saved: Path) -> None:
        path = saved / "model.keras"
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(InputError, match="SHA-256"):
            load_model(saved)

    def test_weights_that_keras_cannot_read(self, saved: Path) -> None:
        (saved / "model.keras").write_bytes(b"not a model")
        values = json.loads((saved / "model.json").read_text()) | {"sha256": ""}
        (saved / "model.json").write_text(json.dumps(values))
        with pytest.raises(InputError, match="Keras cannot read this model") as caught:
            load_model(saved)
        assert "\n" not in str(caught.value)

    def test_inputs_of_another_shape(self, saved: Path) -> None:
        with pytest.raises(InputError, match=r"\(24, 20, 3\).*Received: \(8, 8, 3\)"):
            load_model(saved).predict(np.zeros((1, 8, 8, 3), np.uint8))

    @pytest.mark.parametrize("values", [{"threshold": 1.5}, {"calibration": Calibration(slopes=(1.0, 2.0, 3.0))}])
    def test_an_update_out_of_range_changes_nothing(self, saved: Path, values: dict[str, Any]) -> None:
        before = (saved / "model.json").read_bytes()
        with pytest.raises(InputError, match="threshold must lie in"):
            update_info(saved, **values)
        assert (saved / "model.json").read_bytes() == before

    def test_a_model_of_other_classes_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="has 2 outputs, its description names 3 classes"):
            save_model(small_model(), tmp_path / "m", info_for(classes=("a", "b", "c")))
        assert not (tmp_path / "m").exists()
