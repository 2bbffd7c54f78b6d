"""One folder of every format, whole and damaged: inspect, ingest, predict, serve and the SavedModel read it alike."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from assay.config import DataConfig
from assay.data.dataset import SPLITS, Dataset
from assay.data.ingest import ingest
from assay.data.inspect import inspect_source
from assay.data.preprocess import preprocess
from assay.models.artifact import LoadedModel, load_model, save_model
from assay.models.info import ModelInfo
from assay.predict import predict
from assay.serve import ModelServer
from tests.formats import EXAMPLES, of_pillow

SHAPE = (20, 28, 3)
WINDOW = (0.0, 40_000.0)


def small() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (6, 90)).save(file, "PNG")
    return file.getvalue()


DAMAGED = {
    "empty.png": b"",
    "text.jpg": b"no picture",
    "cut.jpg": of_pillow("JPEG")[:-200],
    "cut.png": of_pillow("PNG")[:-60],
    "cut.tif": EXAMPLES["TIFF: < lzw tiles"][:-300],
    "flipped.png": of_pillow("PNG")[:80] + b"\x00" + of_pillow("PNG")[81:],
    "small.png": small(),
    "large.bmp": of_pillow("BMP")[:18] + (60_000).to_bytes(4, "little") * 2 + of_pillow("BMP")[26:],
}


@dataclass(frozen=True)
class Read:
    """A folder that was read, and a model that looks at every pixel."""

    folder: Path
    data: DataConfig
    model: LoadedModel
    artifact: Path


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Read:
    folder = tmp_path_factory.mktemp("source")
    files = {f"{number:03d}{suffix(name, number)}": data for number, (name, data) in enumerate(EXAMPLES.items())}
    for number, (name, content) in enumerate((files | DAMAGED).items()):
        path = folder / ("benign" if number % 2 else "malignant") / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    (folder / "benign" / "._000.png").write_bytes(b"left behind")
    (folder / "benign" / "@eaDir").mkdir()
    (folder / "benign" / "@eaDir" / "thumb.png").write_bytes(EXAMPLES["BMP of 24 bits: colour"])
    data = DataConfig(
        source=str(folder), window=WINDOW, image_size=SHAPE[:2], near_duplicates=False, max_bad_fraction=1.0
    )
    artifact = tmp_path_factory.mktemp("artifact")
    keras.utils.set_random_seed(3)
    inputs = keras.Input(SHAPE)
    outputs = keras.layers.Dense(2, activation="softmax")(keras.layers.Flatten()(inputs / 255))
    info = ModelInfo(
        name="all", classes=("benign", "malignant"), input_shape=SHAPE, window=WINDOW, max_pixels=data.max_pixels
    )
    save_model(keras.Model(inputs, outputs), artifact, info)
    return Read(folder, data, load_model(artifact), artifact)


def suffix(name: str, number: int) -> str:
    """Every second file has none, as instruments leave it; TGA has nothing but its suffix to know it by."""
    return ".tga" if ": TGA" in name else ".pcx" if ": PCX" in name else "" if number % 2 else ".png"


@pytest.fixture(scope="module")
def predicted(read: Read) -> dict[str, tuple[float, ...]]:
    """The probabilities of each file that `predict` can use; empty for the others."""
    rows = predict(read.model, [read.folder])
    return {Path(row.file).relative_to(read.folder).as_posix(): row.probabilities for row in rows}


def test_inspect_and_predict_accept_the_same_files(read: Read, predicted: dict[str, tuple[float, ...]]) -> None:
    report = inspect_source(str(read.folder), read.data)
    aside = {Path(file.uri).relative_to(read.folder).as_posix() for file in report.set_aside}
    assert len(predicted) == len(EXAMPLES) + len(DAMAGED)
    assert aside == {name for name, probabilities in predicted.items() if not probabilities}
    assert {name.partition("/")[2] for name in aside} == set(DAMAGED)


def test_a_run_trains_on_what_predict_sees(read: Read, predicted: dict[str, tuple[float, ...]], tmp_path: Path) -> None:
    snapshot = ingest(read.data, str(tmp_path / "store"), tmp_path / "work").snapshot_dir
    preprocess(read.data, snapshot, tmp_path / "dataset", seed=0)
    dataset = Dataset.open(tmp_path / "dataset")
    splits = dict(zip(SPLITS, (dataset.train, dataset.valid, dataset.open_test()), strict=True))
    seen: dict[str, np.ndarray] = {}
    for split in splits.values():
        seen |= dict(zip(split.records["id"], read.model.predict(np.asarray(split.inputs)), strict=True))
    assert seen.keys() == {name for name, probabilities in predicted.items() if probabilities}
    for name, probabilities in seen.items():
        np.testing.assert_allclose(probabilities, predicted[name], atol=1e-5, err_msg=name)


def test_what_is_served_is_what_predict_says(read: Read, predicted: dict[str, tuple[float, ...]]) -> None:
    names = sorted(predicted)
    instances = [{"b64": base64.b64encode((read.folder / name).read_bytes()).decode()} for name in names]
    body = json.dumps({"signature_name": "with_errors", "instances": instances}).encode()
    with ModelServer(read.model, "all", "v1", port=0) as server:
        answers = dict(zip(names, server.answer(body)["predictions"], strict=True))
    for name, answer in answers.items():
        assert bool(answer["errors"]) == (not predicted[name]), name
        if predicted[name]:
            np.testing.assert_allclose(answer["probabilities"], predicted[name], atol=1e-5, err_msg=name)


def test_the_saved_model_says_the_same_or_refuses(read: Read, predicted: dict[str, tuple[float, ...]]) -> None:
    names = sorted(predicted)
    serve = tf.saved_model.load(read.artifact / "saved_model").signatures["with_errors"]
    answer = serve(images=tf.constant([(read.folder / name).read_bytes() for name in names]))
    answered = 0
    for name, probabilities, error in zip(
        names, answer["probabilities"].numpy(), answer["errors"].numpy(), strict=True
    ):
        if error:
            assert np.isnan(probabilities).all()
        else:
            answered += 1
            # A level or two of grey; JPEG three.
            np.testing.assert_allclose(probabilities, predicted[name], atol=0.02, err_msg=name)
    assert answered > 10
