"""Groups that nobody has named: ids in the names of files, columns of patients."""

from __future__ import annotations

import pytest

from assay.data.sources.group_hints import group_columns, shared_ids


def ids(names: list[str]) -> tuple[int, int] | None:
    found = shared_ids(names, [name.split("/")[0] for name in names])
    return None if found is None else (found.ids, found.files)


@pytest.mark.parametrize(
    "pattern",
    [
        "a/person{i}_bacteria_{j}.jpeg", "b/P{i:03d}_{j}.png", "a/{i}_left_{j}.jpg", "a/SOB_B_A-14-{i}-{j}.png",
        "a/{i}_idx5_x{j}_class0.png", "a/patient {i}/{j}.png", "a/Subject-{i}-slice-{j}.png", "a/x/slide{i}/{j}.png",
        "a/case_{i} ({j}).png",
    ],
)  # fmt: skip
def test_ids_that_files_share_are_found(pattern: str) -> None:
    assert ids([pattern.format(i=i, j=j) for i in range(9) for j in range(4)]) == (9, 36)


@pytest.mark.parametrize(
    "pattern",
    [
        "a/cat.{n}.jpg",
        "a/IMG_{n:04d}.jpg",
        "a/ISIC_{n:07d}.jpg",
        "a/{n}.png",
        "a/benign ({n}).png",
        "a/n02085620_{n}.JPEG",
    ],
)
def test_counters_are_no_ids(pattern: str) -> None:
    assert ids([pattern.format(n=n) for n in range(40)]) is None


def test_the_number_of_a_class_is_no_id() -> None:
    names = [f"{split}/{label}/{n}.png" for split in ("train", "valid", "test") for label in "01" for n in range(9)]
    assert shared_ids(names, [name.split("/")[1] for name in names]) is None
    assert ids([f"n{c:08d}/n{c:08d}_{n}.JPEG" for c in range(30) for n in range(5)]) is None


def said(header: str, *rows: str, group: int | None = None) -> list[str]:
    return group_columns(header.split(","), [row.split(",") for row in rows], group, "labels.csv")


def test_a_column_of_patients_is_proposed_with_its_numbers() -> None:
    (line,) = said("path,label,patient_id,age", "1,a,P1,40", "2,b,P1,40", "3,a,p2,50", "4,a,P2,50", "5,b,,50")
    assert "column patient_id (2 values for 4 rows)" in line
    assert "data.group_column=patient_id" in line


def test_of_several_the_coarsest_is_proposed() -> None:
    rows = [f"{n},a,{n // 2},{n // 4}" for n in range(16)]
    (line,) = said("path,label,study_id,patient_id", *rows)
    assert line.endswith("data.group_column=patient_id (or study_id)")


def test_columns_in_which_nothing_repeats_are_not() -> None:
    assert said("path,label,patient_id", "1,a,1", "2,b,2") == []
    assert said("path,label,patient_id", "1,a,1", "2,b,1") == []


def test_a_patient_in_several_groups_is_said() -> None:
    rows = [f"{n},a,s{n // 2},p{n // 4}" for n in range(16)]
    (line,) = said("path,label,group,patient_id", *rows, group=2)
    assert "4 of 4 values of the column patient_id have several groups" in line
    assert said("path,label,group,patient_id", *[f"{n},a,s{n // 4},p{n // 4}" for n in range(16)], group=2) == []
