"""Prediction sees what training saw, reports what it cannot read, and writes tables that are safe to open."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
import tifffile

from assay.data.images import decode, resize
from assay.data.sources.tree import LocalTree
from assay.errors import InputError
from assay.models.artifact import LoadedModel, load_model, save_model
from assay.models.info import ModelInfo
from assay.predict import Prediction, predict, predict_files, to_csv
from assay.registry.versions import ModelRegistry
from assay.storage.open import open_store

SHAPE = (16, 12, 3)


def brightness_model(shape: tuple[int, ...] = SHAPE) -> keras.Model:
    """Bright images are of the second class: p = sigmoid((mean - 128) / 32)."""
    inputs = keras.Input(shape)
    mean = keras.layers.GlobalAveragePooling2D()(inputs) if len(shape) == 3 else keras.layers.Flatten()(inputs)
    dense = keras.layers.Dense(1, activation="sigmoid")
    model = keras.Model(inputs, dense(mean))
    size = mean.shape[-1]
    dense.set_weights([np.full((size, 1), 1 / 32 / size), np.array([-4.0])])
    return model


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifact")
    info = ModelInfo(name="bright", classes=("=dark", "light"), input_shape=SHAPE, threshold=0.7)
    save_model(brightness_model(), folder, info)
    return folder


@pytest.fixture(scope="module")
def model(artifact: Path) -> LoadedModel:
    return load_model(artifact)


def write_image(path: Path, level: int, size: tuple[int, int] = (32, 24)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((*size, 3), level, np.uint8)
    image[: size[0] // 2, :, 0] //= 2
    path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())
    return path


def test_rows_come_in_order_with_probabilities_of_the_decoded_pixels(model: LoadedModel, tmp_path: Path) -> None:
    levels = [250, 10, 128, 160, 200, 90, 170]
    paths = [write_image(tmp_path / f"{9 - index}.png", level) for index, level in enumerate(levels)]
    rows = list(predict(model, paths, batch_size=3))
    assert [row.file for row in rows] == [str(path) for path in paths]
    pixels = np.stack([decode(path.read_bytes(), "rgb", SHAPE[:2], 10_000) for path in paths])
    expected = model.predict(pixels)
    np.testing.assert_allclose([row.probabilities for row in rows], expected, atol=1e-6)
    assert [row.label for row in rows] == ["light" if p >= 0.7 else "=dark" for p in expected[:, 1]]
    assert {row.label for row in rows if row.probabilities[1] > 0.5} == {"light", "=dark"}, "the threshold is not 0.5"


def test_a_folder_gives_its_images_sorted_and_nothing_else(model: LoadedModel, tmp_path: Path) -> None:
    for name in ("b/2.JPG", "a.png", "b/1 ü.bmp"):
        write_image(tmp_path / name, 100)
    (tmp_path / "notes.txt").write_text("x")
    assert [Path(row.file).relative_to(tmp_path).as_posix() for row in predict(model, tmp_path)] == [
        "a.png",
        "b/1 ü.bmp",
        "b/2.JPG",
    ]


def test_a_folder_is_walked_as_ingest_walks_a_source(model: LoadedModel, tmp_path: Path) -> None:
    for name in ("scan.jpg", "deep/b.png", "@eaDir/scan.jpg/THUMB.jpg", ".Trash-1000/files/old.jpg", "~x.png"):
        write_image(tmp_path / "new" / name, 100)
    (tmp_path / "new" / "._scan.jpg").write_bytes(b"\0\5\x16\7" + bytes(90))
    write_image(tmp_path / "x.png", 120).rename(tmp_path / "new" / "IM000001")
    write_image(tmp_path / "x.png", 130).rename(tmp_path / "new" / "1.2.840.113")
    (tmp_path / "new" / "scan.dcm").write_bytes(bytes(128) + b"DICM" + bytes(100))
    (tmp_path / "new" / "labels.csv").write_text("path,label\n")
    (tmp_path / "new" / "README").write_text("BM is not a bitmap")
    write_image(tmp_path / "elsewhere.png", 100)
    (tmp_path / "new" / "link.png").symlink_to(tmp_path / "elsewhere.png")
    os.mkfifo(tmp_path / "new" / "pipe.png")
    rows = {
        Path(row.file).relative_to(tmp_path / "new").as_posix(): row.error for row in predict(model, tmp_path / "new")
    }
    good = {"scan.jpg", "deep/b.png", "IM000001", "1.2.840.113", "~x.png"}
    assert {name for name, error in rows.items() if not error} == good
    assert "DICOM" in rows.pop("scan.dcm")
    assert rows.pop("link.png") == "a symbolic link out of the source"
    assert rows.pop("pipe.png") == "neither a file nor a folder"
    assert set(rows) == good
    seen = LocalTree(tmp_path / "new").files()[0]
    assert good <= set(seen)


def test_pipes_and_devices_are_refused_without_waiting(model: LoadedModel, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", Path("/dev/zero")):
        (row,) = predict(model, [path])
        assert row.error == "neither a file nor a folder"


def test_a_file_larger_than_its_pixels_could_be_is_not_read(model: LoadedModel, tmp_path: Path) -> None:
    with (tmp_path / "sparse.png").open("wb") as file:
        file.truncate(2**40)
    (row,) = predict(model, [tmp_path / "sparse.png"])
    assert row.error.startswith("too large: 1,099,511,627,776 bytes")


def test_the_limits_of_training_are_those_of_prediction(tmp_path: Path) -> None:
    window = {"window": (0, 4095), "bands": (3, 2, 1), "max_pixels": 10_000}
    info = ModelInfo(name="bright", classes=("dark", "light"), input_shape=SHAPE, **window)
    save_model(brightness_model(), tmp_path / "m", info)
    model = load_model(tmp_path / "m")
    stored = np.random.default_rng(0).integers(0, 4096, (50, 40, 4), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", extrasamples=["unspecified"])
    large = write_image(tmp_path / "large.png", 100, (101, 100))
    (row, refused) = predict(model, [tmp_path / "a.tif", large])
    shown = resize(np.floor(stored[..., [2, 1, 0]] / 4095 * 255 + 0.5).astype(np.uint8), SHAPE[:2])
    np.testing.assert_allclose(row.probabilities, model.predict(shown[None])[0], atol=1e-6)
    assert refused.error == "too large: 100 x 101 = 10,100 pixels, data.max_pixels is 10,000"
    (row,) = predict(model, [large], max_pixels=20_000)
    assert not row.error


def test_files_that_cannot_be_used_are_rows_with_the_reason(model: LoadedModel, tmp_path: Path) -> None:
    good = write_image(tmp_path / "good.png", 200)
    bad = {"empty.png": b"", "truncated.png": good.read_bytes()[:60], "text.png": b"hello"}
    for name, data in bad.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "dangling.png").symlink_to(tmp_path / "gone")
    paths = [tmp_path / name for name in ("empty.png", "good.png", "truncated.png", "text.png", "dangling.png")]
    rows = list(predict(model, paths, batch_size=2))
    assert [bool(row.error) for row in rows] == [True, False, True, True, True]
    assert rows[1].label == "light"
    assert all("\n" not in row.error and not row.label and not row.probabilities for row in rows if row.error)


def test_wrong_inputs_are_errors_before_any_work(model: LoadedModel, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.png: no such file or folder"):
        predict(model, [tmp_path / "gone.png"])
    with pytest.raises(InputError, match="no files of images in this folder"):
        predict(model, tmp_path)
    with pytest.raises(InputError, match="no files to predict"):
        predict(model, [])


def test_a_table_holds_no_formulas(model: LoadedModel, tmp_path: Path) -> None:
    names = ["=1+1.png", "@sum.png", "a,b.png", 'say "hi".png', "-x.png", "+y.png"]
    rows = [
        Prediction(name, "=dark", (0.9, 0.1)) if index else Prediction(name, error="-bad")
        for index, name in enumerate(names)
    ]
    table = list(csv.DictReader(io.StringIO(to_csv(rows, model.info))))
    assert [row["file"] for row in table] == ["'=1+1.png", "'@sum.png", "a,b.png", 'say "hi".png', "'-x.png", "'+y.png"]
    assert table[0] == {
        "file": "'=1+1.png",
        "label": "",
        "probability_=dark": "",
        "probability_light": "",
        "error": "'-bad",
    }
    assert (table[1]["label"], table[1]["probability_light"]) == ("'=dark", "0.100000")


def test_a_name_that_is_no_utf8_can_be_written(model: LoadedModel, tmp_path: Path) -> None:
    image = write_image(tmp_path / "x.png", 200)
    strange = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png"))
    image.rename(strange)
    (row,) = predict(model, [strange])
    assert row.label == "light"
    to_csv([row], model.info).encode()


def test_a_registered_model_predicts_by_name(
    gcs_root: str, artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    registry = ModelRegistry(open_store(gcs_root), "tissue")
    path = write_image(tmp_path / "x.png", 220)
    (tmp_path / "bad.png").write_bytes(b"")
    with pytest.raises(InputError, match="has no champion"):
        predict_files([path], gcs_root, "tissue")
    registry.publish(artifact, {})
    registry.set_champion("v1", None, reason="first")
    found = predict_files([path, tmp_path / "bad.png"], gcs_root, "tissue", form="json")
    result = json.loads(found.text)
    assert (found.files, found.failed) == (2, 1)
    assert result["model"]["version"] == "v1"
    assert result["model"]["threshold"] == 0.7
    assert result["predictions"][0]["label"] == "light"
    assert sum(result["predictions"][0]["probabilities"].values()) == pytest.approx(1)
    assert result["predictions"][1]["probabilities"] is None
    found = predict_files([path], gcs_root, "tissue", version="v1")
    assert found.failed == 0
    assert found.text.startswith("file,label,probability_=dark,probability_light,error\n")
    assert found.header.startswith("tissue v1 (")
    assert found.header.endswith("positive is 'light', at a probability of 0.700 or more")


def test_sensor_windows_are_filled_as_in_training(tmp_path: Path) -> None:
    info = ModelInfo(
        name="bright",
        classes=("low", "high"),
        kind="sensor",
        input_shape=(4, 2),
        missing="mean",
        channel_means=(0.0, 255.0),
        missing_values=(-1.0,),
        missing_flat_steps=3,
    )
    save_model(brightness_model((4, 2)), tmp_path / "m", info)
    window = np.array([[200, 7], [180, 7], [190, 7], [210, 9]], np.float32)
    window[3, 0], window[3, 1] = np.nan, -1
    np.save(tmp_path / "a.npy", window)
    (tmp_path / "b.csv").write_text("x,y\n1,2\n")
    model = load_model(tmp_path / "m")
    filled, wrong = predict(model, [tmp_path / "a.npy", tmp_path / "b.csv"])
    window[3, 0], window[:, 1] = 0, 255
    np.testing.assert_allclose(filled.probabilities, model.predict(window[None])[0], atol=1e-6)
    assert wrong.error == "the window is 1 x 2, the model takes 4 x 2"
