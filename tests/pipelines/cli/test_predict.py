"""`assay predict`: what it writes, and its exit codes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from assay.registry.versions import ModelRegistry
from assay.storage.open import open_store
from tests.pipelines.conftest import assay


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import keras

    from assay.models.artifact import save_model
    from assay.models.info import ModelInfo

    folder = tmp_path_factory.mktemp("predict")
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(keras.layers.Flatten()(inputs)))
    save_model(model, folder / "model", ModelInfo(name="tiny", classes=("a", "b"), input_shape=(8, 8, 3)))
    registry = ModelRegistry(open_store(str(folder / "store")), "tiny")
    registry.publish(folder / "model", {})
    registry.set_champion("v1", None, reason="first")
    return folder / "store"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(3):
        values = np.random.default_rng(number).integers(0, 255, (20, 20, 3), np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), values)
    return folder


Predict = Callable[..., tuple[int, str, str]]


@pytest.fixture
def predict(store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Predict:
    """Runs the command and returns its exit code, output and errors."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = assay(monkeypatch, "predict", "--storage", str(store), "--name", "tiny", *map(str, arguments))
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_files_that_fail_beside_others_are_counted(predict: Predict, images: Path) -> None:
    (images / "broken.png").write_bytes(b"")
    code, out, err = predict(images)
    assert (code, len(out.splitlines())) == (0, 5)
    assert "1 of 4 files could not be used" in err


def test_it_fails_where_every_file_does(predict: Predict, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"no image")
    code, _, err = predict(tmp_path / "a.png", tmp_path / "b.png", "-o", tmp_path / "out.csv")
    assert code == 1
    assert "none of 2 files could be used" in err
    assert "no image" not in (tmp_path / "out.csv").read_text().splitlines()[0]


def test_the_result_is_not_written_over_an_input(predict: Predict, images: Path) -> None:
    before = (images / "1.png").read_bytes()
    (images.parent / "other name.png").symlink_to(images / "1.png")
    for inputs, output in (
        ([images], images / "1.png"),
        ([images / "1.png"], images / "1.png"),
        ([images], images.parent / "other name.png"),
    ):
        code, _, err = predict(*inputs, "-o", output)
        assert code == 2
        assert "is one of the files to predict. Name another file" in err
    assert (images / "1.png").read_bytes() == before
    assert sorted(file.name for file in images.iterdir()) == ["0.png", "1.png", "2.png"]


def test_a_result_in_the_folder_of_the_images_may_be_written_twice(predict: Predict, images: Path) -> None:
    for _ in range(2):
        assert predict(images, "-o", images / "out.csv")[0] == 0
    assert len((images / "out.csv").read_text().splitlines()) == 4
    assert predict(images, "-o", "/dev/null")[0] == 0
    assert not Path("/dev/null").is_file()


def test_a_place_that_cannot_be_written_to_is_found_first(predict: Predict, images: Path) -> None:
    (images.parent / "file").write_text("")
    for output in (images, images.parent / "file" / "out.csv"):
        code, out, err = predict(images, "-o", output)
        assert code != 0
        assert not out
        assert str(output) in err or "file" in err
        assert "Traceback" not in err
