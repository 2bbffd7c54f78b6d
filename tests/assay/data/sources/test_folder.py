"""Class folders, with and without splits."""

from __future__ import annotations

import pytest

from assay.data.headers import IMAGE_EXTENSIONS
from assay.data.sources.folder import list_class_folders
from assay.errors import InputError


def listed(*names: str):
    return list_class_folders("/data", names, IMAGE_EXTENSIONS)


def test_the_folder_is_the_class() -> None:
    found = listed("cat/1.jpg", "cat/2.jpg", "dog/1.jpg", "README.md")
    assert [(entry.id, entry.label, entry.split, entry.group) for entry in found.entries] == [
        ("cat/1.jpg", "cat", "", ""),
        ("cat/2.jpg", "cat", "", ""),
        ("dog/1.jpg", "dog", "", ""),
    ]
    assert found.entries[0].uri == "/data/cat/1.jpg"
    assert found.rejected == ()


@pytest.mark.parametrize("names", [("train", "valid", "test"), ("Training", "validation", "TESTING")])
def test_folders_named_as_splits_are_honoured(names: tuple[str, ...]) -> None:
    found = listed(*(f"{split}/{label}/1.png" for split in names for label in ("a", "b")))
    assert [(entry.split, entry.label) for entry in found.entries] == [
        (split, label) for split in ("train", "valid", "test") for label in ("a", "b")
    ]
    assert found.layout == "class folders in train, valid, test"


def test_two_splits_are_enough_and_a_lone_train_folder_too() -> None:
    assert {entry.split for entry in listed("train/a/1.png", "val/a/1.png").entries} == {"train", "valid"}
    assert {entry.split for entry in listed("train/a/1.png", "train/b/1.png").entries} == {"train"}


def test_a_class_may_be_named_as_a_split() -> None:
    found = listed("test/1.png", "control/1.png")
    assert [(entry.label, entry.split) for entry in found.entries] == [("test", ""), ("control", "")]


def test_a_split_without_class_folders_has_no_labels_and_is_left_out() -> None:
    found = listed("train/a/1.png", "train/b/1.png", "test/7.png", "test/8.png", "masks/1.png")
    assert len(found.entries) == 2
    assert found.rejected == ()
    assert found.notes == (
        "folder test is left out (2 files): it holds no class folders, so no labels",
        "folder masks is left out (1 files): it is neither train, valid nor test",
    )


def test_stray_images_are_set_aside_and_folders_in_a_class_belong_to_it() -> None:
    found = listed("a/x/1.png", "b/1.png", "stray.png", "train.txt")
    assert [(one.uri, one.reason) for one in found.rejected] == [("/data/stray.png", "in no class folder")]
    assert [entry.label for entry in found.entries] == ["a", "b"]
    assert "1 files lie in folders" in found.notes[0]
    inside = listed("train/a/1.png", "valid/a/1.png", "train/2.png")
    assert [one.uri for one in inside.rejected] == ["/data/train/2.png"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("README.md",), "/data: no examples found. Expected a folder a class"),
        (("walking.npy", "running.npy"), "For sensor windows in .npy files set data.kind=sensor."),
        (("1.png", "2.png"), "/data: 2 examples (first: 1.png), but no class folders and no labels.csv"),
        (("train/a/1.png", "valid/a/1.png", "tset/a/1.png"), "/data/tset: is no split"),
        (("download/cat/1.png", "download/dog/1.png"), "Did you mean /data/download?"),
    ],
)
def test_what_cannot_be_understood_says_the_way_out(names: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError) as caught:
        listed(*names)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
