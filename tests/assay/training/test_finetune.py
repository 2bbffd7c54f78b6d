"""Fine-tuning: the head on a frozen base, then a tail, with the best epoch of both kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from assay.config import FinetuneConfig, Policy, RuntimeConfig
from assay.data.dataset import Dataset
from assay.errors import InputError
from assay.models.artifact import load_model
from assay.models.weights import VGG16_SHA256, convolution_hash
from assay.training.feature_cache import FeatureBatches
from assay.training.finetune import finetune

RUNTIME = RuntimeConfig(precision="float32", workers=2)


def _config(weights: Path, **changes: object) -> FinetuneConfig:
    values: dict[str, object] = {
        "weights": str(weights),
        "frozen": {"epochs": 2, "batch_size": 20, "optimizer": {"learning_rate": 1e-2}},
        "epochs": 1,
        "batch_size": 20,
        "unfreeze_from": "block5_conv3",
        "optimizer": {"name": "adamw", "learning_rate": 1e-4, "schedule": "cosine", "warmup_steps": 2},
    }
    return FinetuneConfig.model_validate({**values, **changes})


def test_both_phases_run_and_the_best_epoch_of_both_is_kept(few: Dataset, vgg16_weights: Path, tmp_path: Path) -> None:
    policy = Policy(horizontal_flip=True)
    result = finetune(_config(vgg16_weights), RUNTIME, few.root, policy, tmp_path / "out", 1, str(tmp_path / "store"))
    table = pd.read_csv(result.model_dir / "history.csv")
    assert table["phase"].tolist() == ["frozen", "frozen", "unfrozen"]
    assert table["kept"].sum() == 1
    assert table.loc[table["kept"], "val_auc"].iloc[0] == table["val_auc"].max()
    assert result.metrics["val_auc"] == pytest.approx(table["val_auc"].max(), abs=1e-3)
    assert result.metrics["val_auc"] > 0.9
    assert result.metrics["frozen_val_auc"] == table["val_auc"][:2].max()
    assert result.metrics["frozen_epochs_run"] == 2
    info = load_model(result.model_dir).info
    assert info.weights_hash == VGG16_SHA256


def test_a_frozen_phase_alone_leaves_the_base_as_it_was(few: Dataset, vgg16_weights: Path, tmp_path: Path) -> None:
    config = _config(vgg16_weights, epochs=0)
    result = finetune(config, RUNTIME, few.root, Policy(), tmp_path / "out", 1, str(tmp_path / "store"))
    model = load_model(result.model_dir).model
    assert convolution_hash(model) == VGG16_SHA256
    assert "unfrozen_epochs_run" not in result.metrics


def test_without_a_frozen_phase_the_tail_and_head_train_together(
    few: Dataset, vgg16_weights: Path, tmp_path: Path
) -> None:
    config = _config(vgg16_weights, frozen={"epochs": 0})
    result = finetune(config, RUNTIME, few.root, Policy(), tmp_path / "out", 1, str(tmp_path / "store"))
    model = load_model(result.model_dir).model
    reference = load_kernels(vgg16_weights)
    for name, kernel in reference.items():
        same = np.array_equal(np.asarray(model.get_layer(name).kernel), kernel)
        assert same == (name != "block5_conv3"), name


def load_kernels(weights: Path) -> dict[str, np.ndarray]:
    import keras

    base = keras.applications.VGG16(weights=None, include_top=False, input_shape=(32, 32, 3))
    base.load_weights(weights)
    return {layer.name: np.asarray(layer.kernel) for layer in base.layers if hasattr(layer, "kernel")}


def test_a_run_interrupted_in_its_second_phase_goes_on_without_repeating_the_first(
    few: Dataset,
    vgg16_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = _config(vgg16_weights, epochs=3, cache="always")
    runtime = RUNTIME.model_copy(update={"deterministic": True, "cache_dir": str(tmp_path / "cache")})
    policy = Policy(horizontal_flip=True, views=2)
    straight = finetune(config, runtime, few.root, policy, tmp_path / "straight", 1, str(tmp_path / "one"))

    class Interrupted(Exception):
        pass

    whole = FeatureBatches.__getitem__

    def interrupt(self: FeatureBatches, index: int) -> tuple[np.ndarray, ...]:
        if self.views[0].ndim > 2 and (self.epoch, index) == (1, 2):
            raise Interrupted
        return whole(self, index)

    monkeypatch.setattr(FeatureBatches, "__getitem__", interrupt)
    with pytest.raises(Interrupted):
        finetune(config, runtime, few.root, policy, tmp_path / "out", 1, str(tmp_path / "two"))
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(FeatureBatches, "__getitem__", whole)
    capsys.readouterr()
    resumed = finetune(config, runtime, few.root, policy, tmp_path / "out", 1, str(tmp_path / "two"))
    printed = capsys.readouterr().out
    assert "train vgg16, frozen" not in printed
    assert "vgg16, unfrozen: continued from epoch 2, step 0" in printed
    pd.testing.assert_frame_equal(resumed.history.drop(columns="seconds"), straight.history.drop(columns="seconds"))
    models = [load_model(result.model_dir).model for result in (straight, resumed)]
    for one, other in zip(models[0].weights, models[1].weights, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def test_two_phases_without_epochs_are_refused(few: Dataset, vgg16_weights: Path, tmp_path: Path) -> None:
    config = _config(vgg16_weights, epochs=0, frozen={"epochs": 0})
    with pytest.raises(InputError, match=r"frozen\.epochs and finetune\.epochs are both 0"):
        finetune(config, RUNTIME, few.root, Policy(), tmp_path / "out", 1, str(tmp_path / "store"))
    assert not (tmp_path / "out").exists()
