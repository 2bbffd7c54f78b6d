"""Files labelled by a table beside them."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from assay.data.headers import IMAGE_EXTENSIONS
from assay.data.sources import Listing
from assay.data.sources.columns import Asked
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


@pytest.mark.parametrize(
    ("names", "table", "says"),
    [
        (["images/1.2.3.dcm", "images/1.2.4.dcm"], "path,label\n1.2.3.dcm,0\n1.2.4.dcm,1\n", "DICOM: export each"),
        (["images/1.2.3.dcm", "images/1.2.4.dcm"], "id,label\n1.2.3,0\n1.2.4,1\n", "DICOM: export each"),
        (["a.nii.gz", "b.nii.gz"], "id,label\na,0\nb,1\n", "A volume (.nii.gz): export its slices"),
        (["x/s1.svs", "x/s2.svs"], "path,label\nx/s1.svs,0\nx/s2.svs,1\n", "A whole slide (.svs): cut it"),
    ],
)
def test_rows_that_name_files_of_another_format_say_which_and_what_to_do(
    tmp_path: Path, names: list[str], table: str, says: str
) -> None:
    with pytest.raises(InputError) as caught:
        listed(source(tmp_path, table, *names))
    assert f"2 of 2 rows name files that are there, in a format that is not read. {says}" in str(caught.value)
    assert f"first: line 2, {names[0]}" in str(caught.value)


def test_a_row_may_name_a_file_without_an_extension(tmp_path: Path) -> None:
    assert labels(source(tmp_path, "path,label\nIM001,x\nIM002,y\n", "IM001", "images/IM002")) == {
        "IM001": "x",
        "images/IM002": "y",
    }


GAPS = "path,label,group\na.png,x,p1\nb.png,y,\nc.png,y,NaN\nd.png,x,p2\n"


def test_gaps_in_the_groups_are_refused_or_groups_of_their_own_and_counted(tmp_path: Path) -> None:
    tree = LocalTree(source(tmp_path, GAPS, "a.png", "b.png", "c.png", "d.png"))
    names, _ = tree.files()
    found = list_labelled(tree, names, ["labels.csv"], IMAGE_EXTENSIONS)
    assert found.groups_missing == 2
    (line,) = found.refusals
    assert "2 of 4 rows have no group while others do" in line
    assert "line 3: b.png" in line
    own = list_labelled(tree, names, ["labels.csv"], IMAGE_EXTENSIONS, group_gaps="own")
    assert own.refusals == ()
    assert "2 of 4 rows have no group" in own.notes[0]
    assert [entry.group for entry in own.entries] == ["p1", "", "", "p2"]


def test_a_column_without_any_group_is_no_gap(tmp_path: Path) -> None:
    found = listed(source(tmp_path, "path,label,group\na.png,x,\nb.png,y,\n", "a.png", "b.png"))
    assert (found.groups_missing, found.refusals) == (0, ())


def test_another_column_may_name_the_groups(tmp_path: Path) -> None:
    table = "path,label,Patient_ID\na.png,x,p1\nb.png,y,p1\nc.png,y,p2\n"
    tree = LocalTree(source(tmp_path, table, "a.png", "b.png", "c.png"))
    names, _ = tree.files()
    found = list_labelled(tree, names, ["labels.csv"], IMAGE_EXTENSIONS, asked=Asked(group="patient_id"))
    assert [entry.group for entry in found.entries] == ["p1", "p1", "p2"]
    assert found.warnings == ()
    (line,) = listed(tmp_path).warnings
    assert "column Patient_ID (2 values for 3 rows)" in line
    with pytest.raises(InputError, match=r"no column 'patient'.* Did you mean 'patient_id'"):
        list_labelled(tree, names, ["labels.csv"], IMAGE_EXTENSIONS, asked=Asked(group="patient"))
