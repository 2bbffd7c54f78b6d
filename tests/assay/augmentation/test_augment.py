"""The augment step: the policy as it is resolved and shown, and refused where it does not fit the data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from assay.ablation.results import AblationResult
from assay.augmentation.augment import augment
from assay.augmentation.policy import load_policy
from assay.config import AblationConfig, AugmentConfig, ColorJitter, Policy
from assay.data.dataset import Dataset
from assay.data.shards import write_dataset
from assay.errors import InputError


def dataset(folder, *shape: int) -> Dataset:
    """Two classes that differ in brightness: anything can learn them."""
    random = np.random.default_rng(0)
    splits = {}
    for name, count in (("train", 32), ("valid", 16), ("test", 6)):
        labels = np.arange(count) % 2
        if len(shape) == 3:
            inputs = random.integers(0, 120, (count, *shape)) + 100 * labels[:, None, None, None]
            splits[name] = (inputs.astype(np.uint8), labels, None)
        else:
            splits[name] = (random.normal(size=(count, *shape)).astype(np.float32), labels, None)
    return write_dataset(folder, splits, ["benign", "malign"])


def run(config: AugmentConfig, folder, out):
    def ablate(*_: object) -> AblationResult:
        raise AssertionError("nobody asked for an ablation, or there is nothing to leave out")

    return augment(config, folder, out, 0, ablate=ablate)


def test_the_step_writes_the_policy_and_its_preview(tmp_path):
    data = dataset(tmp_path / "data", 24, 24, 3)
    policy = Policy(rotation_range=10, quarter_turns=True)
    result = run(AugmentConfig(policy=policy, preview_images=3), data.root, tmp_path / "out")
    assert result.policy == load_policy(tmp_path / "out") == policy
    assert result.metrics["augment_operations"] == 2
    page = (tmp_path / "out" / "preview.html").read_text(encoding="utf-8")
    assert "benign" in page and "malign" in page
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["policy.json", "preview.html"]


@pytest.mark.parametrize(
    ("policy", "shape", "message"),
    [
        (Policy(quarter_turns=True), (12, 30, 3), "quarter_turns needs square images. Received: 12x30"),
        (Policy(color_jitter=ColorJitter(hue=0.1)), (12, 12, 1), "color_jitter needs colour images"),
        (Policy(rotation_range=3, zca_whitening=True), (40, 3), "rotation_range, zca_whitening change images"),
    ],
)
def test_a_policy_that_does_not_fit_the_data_leaves_nothing_behind(tmp_path, policy, shape, message):
    data = dataset(tmp_path / "data", *shape)
    with pytest.raises(InputError, match=message):
        run(AugmentConfig(policy=policy), data.root, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_sensor_windows_pass_with_an_empty_policy(tmp_path):
    data = dataset(tmp_path / "data", 40, 3)
    result = run(AugmentConfig(), data.root, tmp_path / "out")
    assert result.policy == Policy()
    assert "windows of 40 steps" in (tmp_path / "out" / "preview.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("shape", [(12, 12, 3), (34, 34, 3)])
def test_whitening_is_shown_for_small_and_large_images(tmp_path, shape):
    data = dataset(tmp_path / "data", *shape)
    run(AugmentConfig(policy=Policy(zca_whitening=True)), data.root, tmp_path / "out")
    assert "whitened" in (tmp_path / "out" / "preview.html").read_text(encoding="utf-8")


def test_an_ablation_without_operations_is_left_out(tmp_path, capsys):
    data = dataset(tmp_path / "data", 12, 12, 3)
    run(AugmentConfig(ablation=AblationConfig(enabled=True)), data.root, tmp_path / "out")
    assert "nothing to leave out" in capsys.readouterr().out
    assert not (tmp_path / "out" / "ablation.csv").exists()


def test_what_the_ablation_recommends_is_adopted_where_that_is_asked_for(tmp_path):
    data = dataset(tmp_path / "data", 12, 12, 3)
    policy, kept = Policy(brightness_range=(0.8, 1.2), horizontal_flip=True), Policy(horizontal_flip=True)
    tried: list[Policy] = []

    def ablate(given: Policy, on: Dataset, out: Path) -> AblationResult:
        assert (on.root, out) == (data.root, tmp_path / f"out{len(tried)}")
        tried.append(given)
        return AblationResult((), kept, "brightness harms", {"val_auc_ablation_all": 0.7})

    for number, (adopt, expected) in enumerate([(True, kept), (False, policy)]):
        config = AugmentConfig(policy=policy, ablation=AblationConfig(enabled=True, adopt=adopt))
        result = augment(config, data.root, tmp_path / f"out{number}", 0, ablate=ablate)
        assert result.policy == load_policy(tmp_path / f"out{number}") == expected
        assert result.metrics["val_auc_ablation_all"] == 0.7
    assert tried == [policy, policy]
