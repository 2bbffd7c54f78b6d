"""The generated data: the same everywhere, in groups, and not to be solved by colour or by counting."""

from __future__ import annotations

import hashlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from assay.data.images import decode
from assay.data.sensors import decode_window
from assay.data.sources.demo import DemoSource
from assay.data.sources.demo.tissue import Tissue
from assay.errors import InputError


def auc_by_slide(features: np.ndarray, generator: Tissue, images: int) -> float:
    """AUC of a logistic regression on slides that it has not seen."""
    labels = [generator.label(number) for number in range(images)]
    slides = [generator.group(number) for number in range(images)]
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    scores = cross_val_predict(
        model, features, labels, groups=slides, cv=StratifiedGroupKFold(5), method="predict_proba"
    )
    return float(roc_auc_score(labels, scores[:, 1]))


def colour(image: np.ndarray) -> np.ndarray:
    return np.concatenate([value.ravel() for value in cv2.meanStdDev(image)])


def texture(image: np.ndarray) -> list[float]:
    """How rough the red channel of the centre is at six scales, whatever its brightness and contrast."""
    margin = len(image) // 5
    centre = image[margin:-margin, margin:-margin, 0].astype(np.float32)
    centre = (centre - centre.mean()) / (centre.std() + 1)
    return [float((centre - cv2.GaussianBlur(centre, (0, 0), scale)).std()) for scale in (1, 1.5, 2, 3, 4, 6)]


@pytest.fixture(scope="module")
def tissue() -> Tissue:
    return Tissue(images=600, size=64, slides=40, difficulty=0.5, seed=0)


@pytest.fixture(scope="module")
def patches(tissue: Tissue) -> list[np.ndarray]:
    return [tissue.example(number) for number in range(len(tissue))]


def test_neither_majority_nor_colour_tells_a_tumour(tissue: Tissue, patches: list[np.ndarray]) -> None:
    assert np.mean([tissue.label(number) for number in range(600)]) == 0.5
    features = np.stack([colour(patch) for patch in patches])
    assert auc_by_slide(features, tissue, 600) < 0.65
    assert auc_by_slide(np.hstack([features, features**2]), tissue, 600) < 0.65


def test_shape_does(tissue: Tissue, patches: list[np.ndarray]) -> None:
    assert auc_by_slide(np.array([texture(patch) for patch in patches]), tissue, 600) > 0.85


def test_difficulty_goes_from_obvious_to_hardly() -> None:
    scores = []
    for difficulty in (0.0, 1.0):
        generator = Tissue(images=300, size=64, slides=20, difficulty=difficulty, seed=1)
        features = np.array([texture(generator.example(number)) for number in range(300)])
        scores.append(auc_by_slide(features, generator, 300))
    assert scores[0] > 0.97
    assert 0.5 < scores[1] < 0.8


def test_stains_vary_by_slide(tissue: Tissue, patches: list[np.ndarray]) -> None:
    means = np.stack([patch.mean((0, 1)) for patch in patches])
    slides = np.array([tissue.group(number) for number in range(600)])
    by_slide = np.stack([means[slides == slide].mean(0) for slide in np.unique(slides)])
    assert (by_slide.std(0) > 8).all()


@pytest.mark.parametrize(
    ("uri", "number", "digest"),
    [
        ("demo://tissue", 7, "ad313907a44ccb2d"),
        ("demo://tissue?size=48&seed=3&difficulty=0.2", 100, "3a5c64387eda1368"),
        ("demo://fhr", 3, "76e6b2435604ea83"),
        ("demo://sensors?missing=0.1", 5, "05066117a262e294"),
    ],
)
def test_examples_are_the_same_on_every_machine(uri: str, number: int, digest: str) -> None:
    example = DemoSource(uri).generator.example(number)
    assert hashlib.sha256(np.ascontiguousarray(example).tobytes()).hexdigest()[:16] == digest


def test_examples_do_not_depend_on_what_was_made_before() -> None:
    source = DemoSource("demo://tissue?images=24&size=32")
    entries = source.listing().entries
    one_by_one = [source.read(entry) for entry in entries]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(DemoSource(source.uri).read, reversed(entries))) == one_by_one[::-1]


def test_every_slide_has_both_classes_and_every_entry_its_slide() -> None:
    source = DemoSource("demo://tissue?images=240&slides=12&size=16")
    entries = source.listing().entries
    assert len({entry.id for entry in entries}) == 240
    assert Counter((entry.group, entry.label) for entry in entries) == {
        (f"slide-{slide:03d}", label): 10 for slide in range(12) for label in ("normal", "tumor")
    }


def test_files_decode_to_the_pixels_that_were_made() -> None:
    source = DemoSource("demo://tissue?images=4&size=40")
    entry = source.listing().entries[2]
    np.testing.assert_array_equal(decode(source.read(entry), "rgb", None, 10_000), source.generator.example(2))
    source = DemoSource("demo://fhr?images=4&patients=2&height=60&width=300")
    entry = source.listing().entries[1]
    pixels = decode(source.read(entry), "grayscale", None, 100_000)
    np.testing.assert_array_equal(pixels[..., 0], source.generator.example(1))


@pytest.mark.parametrize("size", [16, 17, 96, 200])
def test_patches_come_in_any_size(size: int) -> None:
    patch = Tissue(images=1, size=size, slides=1, difficulty=0.5, seed=0).example(0)
    assert (patch.shape, patch.dtype) == ((size, size, 3), np.uint8)
    assert patch.std() > 10


def test_traces_have_the_notes_shape_and_one_class_a_patient() -> None:
    source = DemoSource("demo://fhr?images=40&patients=8")
    assert source.generator.example(0).shape == (240, 1201)
    labels = {entry.group: set() for entry in source.listing().entries}
    for entry in source.listing().entries:
        labels[entry.group].add(entry.label)
    assert sorted(map(len, labels.values())) == [1] * 8


def test_windows_have_the_notes_shape_and_the_missing_values_asked_for() -> None:
    source = DemoSource("demo://sensors?windows=60&persons=5&missing=0.2")
    entries = source.listing().entries
    windows = np.stack([decode_window(source.read(entry)) for entry in entries])
    assert windows.shape == (60, 80, 3)
    assert 0.17 < np.isnan(windows).mean() < 0.23
    assert len({entry.label for entry in entries}) == 6
    whole = DemoSource("demo://sensors?windows=60&persons=5")
    assert not any(np.isnan(decode_window(whole.read(entry))).any() for entry in entries[:10])


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("demo://tisue", "no such demo. Did you mean 'tissue'"),
        ("demo://", "Known: tissue, fhr, sensors"),
        ("demo://tissue?imagse=5", "unknown key 'imagse'. Did you mean 'images'"),
        ("demo://tissue?zzz=5", "unknown key 'zzz'. Known: images"),
        ("demo://tissue?images=many", "must be a whole number from 1 to"),
        ("demo://tissue?difficulty=2", r"a number from 0.0 to 1.0. Received: '2'"),
        ("demo://tissue?difficulty=nan", "Received: 'nan'"),
        ("demo://tissue?images=", "Received: ''"),
        ("demo://tissue?seed=1&seed=2", "'seed' is given twice"),
    ],
)
def test_wrong_addresses_are_named_in_one_line(uri: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        DemoSource(uri)
    assert "\n" not in str(error.value)
