"""What names mean: the class that is an absence, the column that is a patient, the cell that is blank."""

from __future__ import annotations

import pytest

from assay.data.sources.meaning import default_positive, is_blank, is_group_column, is_negative

PAIRS = [
    ("abnormal", "normal"), ("PNEUMONIA", "NORMAL"), ("malignant", "benign"), ("yes", "no"), ("1", "0"), ("1.0", "0.0"),
    ("positive", "negative"), ("case", "control"), ("Parasitized", "Uninfected"), ("tumor", "no tumor"),
    ("glioma", "notumor"), ("covid", "non-covid"), ("colon_aca", "colon_n"), ("diseased", "healthy"), ("True", "False"),
    ("with_mask", "without_mask"), ("bösartig", "gutartig"), ("bad", "good"), ("REFERABLE", "NON_REFERABLE"),
    ("high_grade", "low_grade"), ("present", "absent"), ("defect", "ok none"), ("unhealthy", "healthy"), ("1", "-1"),
    ("demented", "nondemented"), ("Covid", "NonCOVID"), ("crack", "uncracked"), ("fire", "nofire"), ("IDC+", "IDC-"),
    ("RG", "NRG"), ("sick", "well"), ("covid19", "other"), ("defect", "ok"), ("tb", "notb"), ("MEL", "NV"),
    ("CD3+", "CD3-"), ("not normal", "normal"), ("Tumor", "Tumor-free"), ("Hernia", "No Finding"),
    ("class_1", "class_0"), ("malade", "sain"),
]  # fmt: skip


@pytest.mark.parametrize(("positive", "negative"), PAIRS)
def test_the_class_to_detect_is_the_one_that_is_no_absence(positive: str, negative: str) -> None:
    for classes in ((positive, negative), (negative, positive)):
        assert classes[default_positive(classes)] == positive


@pytest.mark.parametrize(
    "classes", [("cats", "dogs"), ("benign", "normal"), ("a", "b", "normal"), ("Cat", "Dog"), ("N", "T")]
)
def test_without_a_hint_it_is_the_last(classes: tuple[str, ...]) -> None:
    assert default_positive(classes) == len(classes) - 1


@pytest.mark.parametrize("name", ["abnormal", "unhealthy", "nodule", "north", "notch", "1", "10", "negroni", "cat"])
def test_a_name_that_only_begins_like_an_absence_is_none(name: str) -> None:
    assert not is_negative(name)


@pytest.mark.parametrize(
    "column",
    [
        "patient", "patient_id", "PatientID", "Patient ID", "subject", "subject_id", "slide", "slide_name", "case_id",
        "study id", "StudyInstanceUID", "studyinstanceuid", "lesion_id", "pid", "group", "Patient-No.", "donor_id",
        "case_number", "participant", "wsi", "animal_id",
    ],
)  # fmt: skip
def test_columns_of_patients_are_recognised(column: str) -> None:
    assert is_group_column(column)


@pytest.mark.parametrize(
    "column",
    ["id", "image_id", "path", "label", "age", "sex", "patient_age", "diagnosis", "x", "slideshow", "caseload", ""],
)
def test_other_columns_are_not(column: str) -> None:
    assert not is_group_column(column)


@pytest.mark.parametrize("cell", ["", " ", "\u200b", "nan", "NaN", "N/A", "None", "null", "?", "-", "Unknown"])
def test_cells_that_say_nothing_are_blank(cell: str) -> None:
    assert is_blank(cell)
    assert not is_blank("0")
