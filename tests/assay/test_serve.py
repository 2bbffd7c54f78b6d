"""The HTTP server answers as `assay predict` does, and refuses in one line."""

from __future__ import annotations

import base64
import http.client
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from assay.data.images import decode
from assay.models.artifact import LoadedModel, load_model, save_model
from assay.models.info import ModelInfo
from assay.predict import predict
from assay.serve import LARGEST_BODY, ModelServer
from tests.formats import EXAMPLES

SHAPE = (16, 12, 3)
WINDOW = (0.0, 3000.0)


def model_of(folder: Path, **info: Any) -> LoadedModel:
    shape = info["input_shape"]
    inputs = keras.Input(shape)
    keras.utils.set_random_seed(0)
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(keras.layers.Flatten()(inputs / 255)))
    save_model(model, folder, ModelInfo(name="tiny", classes=("a", "b"), **info))
    return load_model(folder)


def serving(model: LoadedModel) -> Iterator[ModelServer]:
    with ModelServer(model, "tiny", "v3", port=0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    yield from serving(model_of(tmp_path_factory.mktemp("model"), input_shape=SHAPE, window=WINDOW))


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    info = {"kind": "sensor", "input_shape": (4, 2), "missing": "mean", "channel_means": (1.0, 2.0)}
    yield from serving(model_of(tmp_path_factory.mktemp("model"), **info))


def ask(
    server: ModelServer, body: bytes, path: str = "/v1/models/tiny:predict", **headers: str
) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.request("POST", path, body, headers)
    response = connection.getresponse()
    answer = response.status, json.loads(response.read())
    connection.close()
    return answer


def instances(*files: bytes) -> bytes:
    return json.dumps({"instances": [{"b64": base64.b64encode(file).decode()} for file in files]}).encode()


def test_every_format_is_answered_as_predict_does(images: ModelServer, tmp_path: Path) -> None:
    paths = []
    for number, data in enumerate(EXAMPLES.values()):
        paths.append(tmp_path / f"{number:03d}")
        paths[-1].write_bytes(data)
    expected = list(predict(images.model, paths))
    assert not any(row.error for row in expected)
    status, answer = ask(images, instances(*EXAMPLES.values()))
    assert status == 200
    for row, served in zip(expected, answer["predictions"], strict=True):
        np.testing.assert_allclose(served["probabilities"], row.probabilities, atol=1e-6)
        assert served["labels"] == row.label


def test_one_file_may_be_the_whole_body(images: ModelServer) -> None:
    data = EXAMPLES["TIFF: < zlib planes"]
    status, answer = ask(images, data)
    assert (status, answer) == ask(images, instances(data))
    assert ask(images, json.dumps({"instances": [{"images": {"b64": base64.b64encode(data).decode()}}]}).encode()) == (
        status,
        answer,
    )


def test_requests_at_the_same_time_get_their_own_answers(images: ModelServer) -> None:
    files = list(EXAMPLES.values())[:8] * 3
    pixels = np.stack([decode(data, "rgb", SHAPE[:2], 10**6) for data in files])
    expected = images.model.predict(pixels)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda data: ask(images, data)[1]["predictions"][0]["probabilities"], files))
    np.testing.assert_allclose(answers, expected, atol=1e-6)


def test_windows_are_arrays_of_numbers(windows: ModelServer) -> None:
    window = [[10.0, 20.0], [30.0, None], [1.0, 2.0], [3.0, 4.0]]
    status, answer = ask(windows, json.dumps({"instances": [window]}).encode())
    filled = np.array([[10, 20], [30, 2], [1, 2], [3, 4]], np.float32)
    assert status == 200
    np.testing.assert_allclose(
        answer["predictions"][0]["probabilities"], windows.model.predict(filled[None])[0], atol=1e-6
    )


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "instance 0: empty"),
        (b"{", "not valid JSON"),
        (b"{" * 100_000, "not valid JSON"),
        (b"{}", 'the body is one file, or {"instances"'),
        (b'{"instances": []}', "the body is one file"),
        (b'{"instances": [{"b64": "!"}]}', "instance 0: an image is"),
        (b'{"instances": [{"b64": 1}]}', "instance 0: an image is"),
        (b'{"instances": [[1, 2]]}', "instance 0: an image is"),
        (b"not an image at all", "instance 0: not an image"),
        (json.dumps({"instances": [{"b64": ""}] * 300}).encode(), "at most 256"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_one_line(images: ModelServer, body: bytes, reason: str) -> None:
    status, answer = ask(images, body)
    assert status == 400
    assert reason in answer["error"]
    assert "\n" not in answer["error"]


def test_a_refusal_names_the_instance(images: ModelServer) -> None:
    good = EXAMPLES["GIF: plain"]
    assert ask(images, instances(good, good[:100], good))[1]["error"].startswith("instance 1: truncated")


def test_errors_one_by_one_leave_the_other_answers(images: ModelServer) -> None:
    good = EXAMPLES["GIF: plain"]
    request = json.loads(instances(good, good[:100], good)) | {"signature_name": "with_errors"}
    request["instances"].append({"b64": "!"})
    status, answer = ask(images, json.dumps(request).encode())
    first, broken, third, garbled = answer["predictions"]
    assert status == 200
    alone = ask(images, good)[1]["predictions"][0]
    np.testing.assert_allclose(
        [first["probabilities"], third["probabilities"]], [alone["probabilities"]] * 2, atol=1e-6
    )
    assert (first["labels"], first["errors"], third["errors"]) == (alone["labels"], "", "")
    assert broken["errors"].startswith("truncated")
    assert garbled["errors"].startswith("an image is")
    for row in (broken, garbled):
        assert (row["probabilities"], row["labels"]) == (None, "")
    request["signature_name"] = "pixels"
    assert "signature_name 'pixels'" in ask(images, json.dumps(request).encode())[1]["error"]


def test_wrong_windows_are_refused(windows: ModelServer) -> None:
    for window, reason in (([[1.0, 2.0]], "the model takes 4 x 2"), ([["x"]], "not a window of numbers")):
        status, answer = ask(windows, json.dumps({"instances": [window]}).encode())
        assert status == 400
        assert reason in answer["error"]


def test_other_addresses_lengths_and_methods(images: ModelServer) -> None:
    assert ask(images, b"x", "/v1/models/other:predict")[0] == 404
    connection = http.client.HTTPConnection("127.0.0.1", images.server_port, timeout=60)
    connection.putrequest("POST", "/v1/models/tiny:predict")
    connection.putheader("Content-Length", str(LARGEST_BODY + 1))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection = http.client.HTTPConnection("127.0.0.1", images.server_port, timeout=60)
    connection.request("GET", "/v1/models/tiny")
    (state,) = json.loads(connection.getresponse().read())["model_version_status"]
    assert (state["version"], state["state"]) == ("v3", "AVAILABLE")
