"""A config is held against all that a run needs, before the first step; each wrong thing is one line with its key."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from assay.check import Known, check_config, look_at_source, require_config
from assay.config import parse_config
from assay.errors import InputError
from assay.models.transfer import base_layer_names

OFF = {"enabled": False}


def problems(folder: Path, *, here: bool = True, **sections: object) -> list[str]:
    values: dict = {"version": 1, "storage": {"root": str(folder / "store")}, "search": OFF, "finetune": OFF}
    values |= {"data": {"source": "demo://tissue?images=60&size=64"}, **sections}
    found = check_config(parse_config(values), here=here)
    assert not any("\n" in line for line in found)
    return found


def test_a_sound_config_has_no_problems(tmp_path: Path) -> None:
    assert problems(tmp_path) == []
    assert problems(tmp_path, finetune={"weights": "none"}, search={}) == []
    assert list(tmp_path.iterdir()) == []


TISSUE = {"source": "demo://tissue?images=60"}
FINETUNE = {"weights": "none", "model": {"name": "vgg16"}}


@pytest.mark.parametrize(
    ("sections", "says"),
    [
        ({"baseline": {"model": {"name": "resnet5"}}}, "baseline.model: model 'resnet5': there is no such model"),
        ({"baseline": {"model": {"options": {"widht": 3}}}}, "Did you mean 'width'"),
        ({"baseline": {"model": {"name": "lstm"}}}, "it takes sensor windows, data.kind is image"),
        ({"finetune": {**FINETUNE, "model": {"name": "vgg15"}}}, "finetune.model: model 'vgg15'"),
        ({"finetune": {**FINETUNE, "unfreeze_from": "block9_conv1"}}, "its base has no layer 'block9_conv1'"),
        ({"finetune": {**FINETUNE, "unfreeze_from": 40}}, "indices 0 to 18"),
        ({"finetune": {**FINETUNE, "epochs": 0, "frozen": {"epochs": 0}}}, "are both 0"),
        ({"finetune": {"weights": "/absent.weights.h5"}}, "finetune.weights: /absent.weights.h5: there is no such"),
        ({"finetune": {"weights": "imagenet", "model": {"name": "cnn3"}}}, "takes no pretrained weights"),
        ({"search": {"hypermodel": "vgg16_head", "weights": "/absent.h5"}}, "search.weights: /absent.h5"),
        ({"data": {"source": "demo://tissue?images=60&size=16"}}, "an input of 16x16 is too small for layer"),
        ({"data": {"source": "demo://tissue?images=60", "image_size": [8, 8]}}, "an input of 8x8 is too small"),
        ({"data": {"source": "/absent"}}, "/absent: there is no such folder"),
        ({"data": {"source": "s3://bucket/x"}}, "unknown scheme 's3'"),
        ({"data": {"source": "demo://tissue?images=60", "positive_class": "tumour"}}, "Did you mean 'tumor'"),
        ({"data": {"source": "demo://tissue?images=60", "classes": ["tumor", "x"]}}, "has the label 'x'"),
        ({"data": {"source": "demo://fhr?images=60", "kind": "sensor"}}, "Set data.kind: image"),
        ({"augment": {"ablation": {"enabled": True, "model": "compct"}}}, "augment.ablation.model: model 'compct'"),
        (
            {"augment": {"policy": {"color_jitter": {"hue": 0.1}}}, "data": {**TISSUE, "color_mode": "grayscale"}},
            "augment.policy.color_jitter needs colour images",
        ),
        ({"augment": {"policy": {"quarter_turns": True}}, "data": {**TISSUE, "image_size": [64, 96]}}, "needs square"),
        ({"runtime": {"cache_dir": "gs://bucket/x"}}, "runtime.cache_dir: a folder of the machine"),
    ],
)  # fmt: skip
def test_what_a_step_would_refuse_is_said_before(tmp_path: Path, sections: dict, says: str) -> None:
    found = problems(tmp_path, **sections)
    assert any(says in line for line in found), found


def test_everything_wrong_is_listed_and_the_run_names_the_first(tmp_path: Path) -> None:
    values = {
        "version": 1,
        "storage": {"root": str(tmp_path)},
        "data": {"source": str(tmp_path / "absent")},
        "baseline": {"model": {"name": "absent"}},
        "finetune": {"weights": str(tmp_path / "absent.h5"), "unfreeze_from": "absent"},
    }
    assert len(check_config(parse_config(values))) == 4
    with pytest.raises(InputError, match=r"and 3 more: `assay config check` lists them"):
        require_config(parse_config(values))


def test_storage_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert "is a file, not a folder" in problems(tmp_path, storage={"root": str(tmp_path / "file" / "store")})[0]


def test_a_sigmoid_is_for_two_classes(tmp_path: Path) -> None:
    for label in "abc":
        (tmp_path / "source" / label).mkdir(parents=True)
        for number in range(3):
            Image.new("L", (64, 64)).save(tmp_path / "source" / label / f"{number}.png")
    data = {"source": str(tmp_path / "source")}
    (line,) = problems(tmp_path, data=data, baseline={"model": {"output": "sigmoid"}})
    assert "a sigmoid output is for two classes. Received: 3 classes" in line
    assert problems(tmp_path, data={**data, "classes": ["a", "b"]}, baseline={"model": {"output": "sigmoid"}}) == []


def test_what_names_forbid_is_known_without_reading(tmp_path: Path) -> None:
    for label in ("benign", "Benign", "x"):
        (tmp_path / "source" / label).mkdir(parents=True)
        (tmp_path / "source" / label / "1.png").write_bytes(b"not read")
    assert "'benign' (1)" in problems(tmp_path, data={"source": str(tmp_path / "source")})[0]


def test_for_a_cluster_nothing_of_this_machine_is_looked_at(tmp_path: Path) -> None:
    sections = {"data": {"source": "gs://bucket/images"}, "storage": {"root": "gs://bucket/store"}, "finetune": {}}
    assert problems(tmp_path, here=False, **sections) == []


def test_a_source_is_looked_at_by_its_names_and_a_few_headers(tmp_path: Path) -> None:
    data = parse_config({"version": 1, "data": {"source": "demo://tissue?images=60&size=48"}}).data
    assert look_at_source(data) == Known(classes=2, shape=(48, 48, 3))


@pytest.mark.parametrize("name", ["vgg16", "vgg19", "mobilenet"])
def test_layers_are_known_without_building_as_they_are_built(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from assay.models.catalog import build_model
    from assay.models.transfer import base_layers

    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path))
    built = build_model(name, (64, 64, 3), 2)
    assert base_layer_names(name, {}) == [layer.name for layer in base_layers(built)]
    assert len(list(tmp_path.rglob("*.json"))) == (not name.startswith("vgg"))
