"""Tables by the names of public data sets beside their images, and folders that say otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from assay.config import DataConfig
from assay.data.sources import Listing, open_source
from assay.errors import InputError

TWO = "part_1/a.png part_2/b.png"


def listed(folder: Path, files: str, tables: dict[str, Sequence[str]], **data: object) -> Listing:
    """List a source: its tables by name and lines, its other files empty, which a listing does not read."""
    for name in files.split():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    for name, lines in tables.items():
        (folder / name).write_text("\n".join(lines) + "\n")
    return open_source(str(folder), DataConfig(source=str(folder), **data)).listing()


def labels(listing: Listing) -> dict[str, str]:
    return {entry.id.rpartition("/")[2]: entry.label for entry in listing.entries}


def test_ham10000_is_labelled_by_its_metadata_and_not_by_the_parts_of_its_archive(tmp_path: Path) -> None:
    found = listed(
        tmp_path,
        "HAM10000_images_part_1/ISIC_1.jpg HAM10000_images_part_1/ISIC_2.jpg HAM10000_images_part_2/ISIC_3.jpg",
        {
            "HAM10000_metadata.csv": [
                "lesion_id,image_id,dx,dx_type,age,sex,localization",
                "HAM_1,ISIC_1,bkl,histo,80.0,male,scalp",
                "HAM_1,ISIC_3,bkl,histo,80.0,male,scalp",
                "HAM_2,ISIC_2,nv,histo,75.0,female,ear",
            ]
        },
    )
    assert labels(found) == {"ISIC_1.jpg": "bkl", "ISIC_2.jpg": "nv", "ISIC_3.jpg": "bkl"}
    assert "labels are read from HAM10000_metadata.csv" in found.notes
    assert any("the file is named by the column image_id, the class by dx" in note for note in found.notes)
    assert "data.group_column=lesion_id" in found.warnings[0]


def test_aptos_is_labelled_by_train_csv_and_its_submission_is_not_looked_at(tmp_path: Path) -> None:
    found = listed(
        tmp_path,
        "train_images/000c.png train_images/0016.png test_images/0005.png",
        {
            "train.csv": ["id_code,diagnosis", "000c,2", "0016,4"],
            "test.csv": ["id_code", "0005"],
            "sample_submission.csv": ["id_code,diagnosis", "0005,0"],
        },
    )
    assert labels(found) == {"000c.png": "2", "0016.png": "4"}
    assert "folder test_images is left out (1 files): no row names any of them" in found.notes


def test_isic_2019_has_a_column_a_class(tmp_path: Path) -> None:
    found = listed(
        tmp_path,
        "ISIC_2019_Training_Input/ISIC_1.jpg ISIC_2019_Training_Input/ISIC_2.jpg",
        {
            "ISIC_2019_Training_GroundTruth.csv": ["image,MEL,NV,UNK", "ISIC_1,0.0,1.0,0.0", "ISIC_2,1.0,0.0,0.0"],
            "ISIC_2019_Training_Metadata.csv": ["image,age_approx,sex", "ISIC_1,55.0,female", "ISIC_2,30.0,male"],
        },
    )
    assert labels(found) == {"ISIC_1.jpg": "NV", "ISIC_2.jpg": "MEL"}


CHEXPERT = "train/patient1/study1/view1.jpg train/patient2/study1/view1.jpg valid/patient3/study1/view1.jpg"
FINDINGS = "Path,Sex,No Finding,Edema,Fracture"


def chexpert(folder: Path, **data: object) -> Listing:
    tables = {
        "train.csv": [
            FINDINGS,
            "CheXpert-v1.0-small/train/patient1/study1/view1.jpg,Female,1.0,0.0,",
            "CheXpert-v1.0-small/train/patient2/study1/view1.jpg,Male,,1.0,1.0",
        ],
        "valid.csv": [FINDINGS, "CheXpert-v1.0-small/valid/patient3/study1/view1.jpg,Male,0.0,1.0,0.0"],
    }
    return listed(folder, CHEXPERT, tables, **data)


def test_chexpert_has_several_findings_and_asks_for_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r'Choose one: data\.label_column="No Finding"'):
        chexpert(tmp_path)
    found = chexpert(tmp_path, label_column="Edema")
    assert sorted((entry.id.split("/")[1], entry.label, entry.split) for entry in found.entries) == [
        ("patient1", "0.0", "train"),
        ("patient2", "1.0", "train"),
        ("patient3", "1.0", "valid"),
    ]
    with pytest.raises(InputError, match=r"line 2 .* has an empty label"):
        chexpert(tmp_path, label_column="Fracture")


def test_rsna_names_patients_whose_files_are_dicom(tmp_path: Path) -> None:
    table = {"stage_2_train_labels.csv": ["patientId,x,y,width,height,Target", "0004,,,,,0", "0009,264,152,213,379,1"]}
    with pytest.raises(
        InputError, match=r"2 of 2 rows name files that are there, in a format that is not read\. DICOM"
    ):
        listed(tmp_path, "stage_2_train_images/0004.dcm stage_2_train_images/0009.dcm", table)
    found = listed(tmp_path, "stage_2_train_images/0004.png stage_2_train_images/0009.png", table)
    assert labels(found) == {"0004.png": "0", "0009.png": "1"}


def test_several_tables_of_one_kind_are_asked_for(tmp_path: Path) -> None:
    tables = {
        "first.csv": ["image,label", "a.png,x", "b.png,y"],
        "second.csv": ["image,label", "a.png,y", "b.png,x"],
    }
    with pytest.raises(InputError, match=r"2 tables may hold the labels \(first\.csv, second\.csv\)\. Say which"):
        listed(tmp_path, "images/a.png images/b.png", tables)
    assert labels(listed(tmp_path, "", {}, table="second.csv")) == {"a.png": "y", "b.png": "x"}
    with pytest.raises(
        InputError, match=r"there is no 'secnd\.csv', which data\.table names\. Did you mean 'second\.csv'"
    ):
        listed(tmp_path, "", {}, table="secnd.csv")


def test_tables_of_train_and_test_are_splits(tmp_path: Path) -> None:
    tables = {"train.csv": ["image,label", "a,x", "b,y"], "test.csv": ["image,label", "c,x"]}
    found = listed(tmp_path, "images/a.png images/b.png images/c.png", tables)
    assert {entry.id: entry.split for entry in found.entries} == {
        "images/a.png": "train",
        "images/b.png": "train",
        "images/c.png": "test",
    }
    (tmp_path / "test.csv").write_text("image,label\nb,y\n")
    with pytest.raises(InputError, match=r"two label tables name the file images/b\.png"):
        listed(tmp_path, "", {})


@pytest.mark.parametrize("own", ["x", "0"])
def test_folders_that_a_table_agrees_with_are_the_classes(tmp_path: Path, own: str) -> None:
    rows = ["image,target", f"a.png,{own}", "b.png,1"]
    found = listed(tmp_path, "benign/a.png malignant/b.png", {"metadata.csv": rows})
    assert labels(found) == {"a.png": "benign", "b.png": "malignant"}
    assert "metadata.csv and the class folders agree: labels are taken from the folders" in found.notes


def test_folders_and_a_table_that_differ_are_refused(tmp_path: Path) -> None:
    rows = ["image,target", "a.png,0", "b.png,1", "c.png,1"]
    files = "benign/a.png benign/b.png malignant/c.png"
    with pytest.raises(
        InputError, match=r"label the same files otherwise.*data\.table=metadata\.csv, or data\.exclude"
    ):
        listed(tmp_path, files, {"metadata.csv": rows})
    assert set(labels(listed(tmp_path, "", {}, table="metadata.csv")).values()) == {"0", "1"}
    assert set(labels(listed(tmp_path, "", {}, exclude=("*.csv",))).values()) == {"benign", "malignant"}


def test_a_spreadsheet_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"no class folders.*labels\.xlsx is a spreadsheet, which is not read: save it"
    ):
        listed(tmp_path, "a.png b.png labels.xlsx", {})
    found = listed(tmp_path / "folders", "cat/a.png dog/b.png labels.xlsx", {})
    assert "labels.xlsx is a spreadsheet, which is not read: save it as CSV (labels.csv)" in found.warnings


def test_tables_of_other_things_change_nothing(tmp_path: Path) -> None:
    tables = {
        "results.csv": ["epoch,class,loss", "1,a,0.3"],
        "boxes.csv": ["filename,x,y", "a.png,3,4", "b.png,5,6"],
        "broken.csv": ['"'],
    }
    found = listed(tmp_path, "cat/a.png dog/b.png", tables)
    assert labels(found) == {"a.png": "cat", "b.png": "dog"}
    assert found.layout == "class folders"
