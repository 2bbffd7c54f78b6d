"""Files labelled by a table beside them."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from assay.data.headers import IMAGE_EXTENSIONS
from assay.data.sources import Listing
from assay.data.sources.labelled import find_tables, list_labelled
from assay.data.sources.tree import LocalTree
from assay.errors import InputError


def source(root: Path, table: str, *files: str, name: str = "labels.csv") -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(b"-")
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(table, encoding="utf-8")
    return root


def listed(root: Path) -> Listing:
    tree = LocalTree(root)
    names, _ = tree.files()
    return list_labelled(tree, names, find_tables(names), IMAGE_EXTENSIONS)


def labels(root: Path) -> dict[str, str]:
    return {entry.id: entry.label for entry in listed(root).entries}


def test_paths_and_ids_find_their_files(tmp_path: Path) -> None:
    by_path = source(tmp_path / "1", "path,label\nx/a.png,p\nb.jpg,q\n", "x/a.png", "b.jpg")
    assert labels(by_path) == {"x/a.png": "p", "b.jpg": "q"}
    by_id = source(tmp_path / "2", "id,label\na,p\nb,q\n", "images/a.png", "images/b.jpg")
    assert labels(by_id) == {"images/a.png": "p", "images/b.jpg": "q"}
    below_images = source(tmp_path / "3", "path,label\na.png,p\nb.png,q\n", "images/a.png", "images/b.png")
    assert labels(below_images) == {"images/a.png": "p", "images/b.png": "q"}
    windows = source(tmp_path / "4", "path,label\nx\\a.png,p\n./b.png,q\n", "x/a.png", "b.png")
    assert labels(windows) == {"x/a.png": "p", "b.png": "q"}


def test_kaggle_layout_ignores_the_unlabelled_test_folder(tmp_path: Path) -> None:
    files = ["train/0a.tif", "train/0b.tif", "test/0a.tif", "test/1b.tif"]
    root = source(tmp_path, "id,label\n0a,0\n0b,1\n", *files, name="train_labels.csv")
    found = listed(root)
    assert {entry.id: (entry.label, entry.split) for entry in found.entries} == {
        "train/0a.tif": ("0", ""),
        "train/0b.tif": ("1", ""),
    }
    assert found.rejected == ()
    assert found.notes == ("folder test is left out (2 files): no row names any of them",)


def test_groups_and_splits_are_taken_from_the_table(tmp_path: Path) -> None:
    table = "path,label,split,group\na.png,x,train,s1\nb.png,y,test,s2\n"
    found = listed(source(tmp_path, table, "a.png", "b.png"))
    assert [(entry.split, entry.group) for entry in found.entries] == [("train", "s1"), ("test", "s2")]
    assert found.layout == "labels.csv, splits given"


def test_splits_come_from_folders_where_the_table_names_none(tmp_path: Path) -> None:
    table = "path,label\ntrain/a.png,x\nval/b.png,y\n"
    found = listed(source(tmp_path, table, "train/a.png", "val/b.png"))
    assert [entry.split for entry in found.entries] == ["train", "valid"]
    assert "splits are taken from the folders" in found.notes[0]


def test_each_split_may_have_a_table_of_its_own(tmp_path: Path) -> None:
    source(tmp_path, "id,label\na,x\n", "train/a.png", name="train/labels.csv")
    root = source(tmp_path, "id,label\na,y\n", "test/a.png", name="test/labels.csv")
    assert {(entry.id, entry.label, entry.split) for entry in listed(root).entries} == {
        ("train/a.png", "x", "train"),
        ("test/a.png", "y", "test"),
    }


def test_a_file_without_a_row_is_set_aside(tmp_path: Path) -> None:
    found = listed(source(tmp_path, "path,label\na.png,x\n", "a.png", "b.png", "readme.md"))
    assert [(Path(one.uri).name, one.reason) for one in found.rejected] == [("b.png", "no row in the label table")]


def test_names_with_spaces_quotes_and_either_form_of_accents(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "é.png")
    table = f'path,label\n"it\'s ""a"" b.png",x\n{unicodedata.normalize("NFC", "é.png")},y\n图.png,x\n'
    root = source(tmp_path, table, 'it\'s "a" b.png', decomposed, "图.png")
    assert labels(root) == {'it\'s "a" b.png': "x", decomposed: "y", "图.png": "x"}


def test_the_real_patches_agree_with_their_folders(pcam: Path) -> None:
    found = listed(pcam)
    assert len(found.entries) == 6000
    assert found.rejected == ()
    assert {split: sum(entry.split == split for entry in found.entries) for split in ("train", "valid", "test")} == {
        "train": 4000,
        "valid": 1000,
        "test": 1000,
    }
    assert found.notes == ("labels.csv and the class folders agree on all 6,000 files",)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            "path,label\na.png,x\nc.png,y\nd.png,y\n",
            "2 of 3 rows name files that are not in the source (first: c.png, line 3)",
        ),
        ("path,label\n../a.png,x\n", "line 2: '../a.png' lies outside the source"),
        ("path,label\nx/../../a.png,x\n", "lies outside the source"),
        ("path,label\n..\\a.png,x\n", "lies outside the source"),
        ("path,label\n/etc/passwd,x\n", "is an absolute path"),
        ("path,label\nC:\\a.png,x\n", "is an absolute path"),
        ("path,label\na.png,x\n./a.png,x\n", "lines 2 and 3 name the same file a.png and repeat each other"),
        ("id,label\na,x\na.png,y\n", "lines 2 and 3 name the same file a.png and contradict each other"),
    ],
)
def test_rows_that_do_not_fit_the_files_are_refused(tmp_path: Path, table: str, message: str) -> None:
    (tmp_path / "a.png").write_bytes(b"outside")
    with pytest.raises(InputError) as caught:
        listed(source(tmp_path / "source", table, "a.png", "b.png"))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_ambiguous_id_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'a' fits 2 files"):
        listed(source(tmp_path, "id,label\na,x\n", "one/a.png", "two/a.png"))


def test_a_table_that_contradicts_the_class_folders_is_refused(tmp_path: Path) -> None:
    root = source(tmp_path, "path,label\nx/a.png,x\ny/b.png,y\ny/c.png,x\n", "x/a.png", "y/b.png", "y/c.png")
    with pytest.raises(InputError, match=r"1 of 3 rows contradict the class folders .first: line 4 gives y/c\.png"):
        listed(root)
