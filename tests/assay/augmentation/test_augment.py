from __future__ import annotations

import numpy as np
import pytest

from assay.augmentation.augment import augment
from assay.augmentation.policy import load_policy
from assay.config import AblationConfig, AugmentConfig, ColorJitter, Policy, RuntimeConfig
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
    return augment(config, folder, out, 0, RuntimeConfig(precision="float32"))


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
    assert "Sensor windows of 40 steps" in (tmp_path / "out" / "preview.html").read_text(encoding="utf-8")


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


def test_the_ablation_trains_each_variant_and_writes_its_table(tmp_path):
    import pandas as pd

    data = dataset(tmp_path / "data", 24, 24, 3)
    ablation = AblationConfig(enabled=True, model="cnn3", epochs=1, seeds=2, images=50, adopt=True)
    policy = Policy(brightness_range=(0.8, 1.2))
    result = run(AugmentConfig(policy=policy, ablation=ablation), data.root, tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "ablation.csv")
    assert table["variant"].tolist()[:4] == ["all", "none", "without", "alone"]
    assert table[["seed_1", "seed_2"]].notna().all(axis=None)
    # One operation left out is none, and one alone is all: each is trained once.
    assert table.loc[1, "seed_1"] == table.loc[2, "seed_1"]
    assert result.metrics["val_auc_ablation_all"] == pytest.approx(table.loc[0, ["seed_1", "seed_2"]].mean())
    assert result.policy == load_policy(tmp_path / "out")
    assert "Recommended" in (tmp_path / "out" / "ablation.html").read_text(encoding="utf-8")
    assert "Recommended" in (tmp_path / "out" / "ablation.md").read_text(encoding="utf-8")
