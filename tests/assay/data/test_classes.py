"""Classes: names in one form, likely the same refused with spellings and counts, the positive one by default."""

from __future__ import annotations

import unicodedata

import pytest

from assay.config import DataConfig
from assay.data.classes import Chosen, choose_classes, positive_index, why_positive
from assay.data.sources import Entry, Listing
from assay.errors import InputError


def chosen(
    labels: dict[str, int], groups: tuple[str, ...] = (), empty: tuple[str, ...] = (), **config: object
) -> Chosen:
    names = [label for label, count in labels.items() for _ in range(count)]
    entries = [
        Entry(f"{n:03d}.png", f"/data/{n:03d}.png", name, group=groups[n % len(groups)] if groups else "")
        for n, name in enumerate(names)
    ]
    return choose_classes("/data", Listing(tuple(entries), "labels.csv", empty_classes=empty), DataConfig(**config))


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ({"benign": 18, "Benign": 9, "BENIGN": 3, "malignant": 30}, "'benign' (18), 'Benign' (9), 'BENIGN' (3)"),
        ({"0": 5, "0.0": 4, "1": 5}, "'0' (5), '0.0' (4)"),
        ({"no tumor": 5, "no_tumor": 4, "tumor": 5}, "'no tumor' (5), 'no_tumor' (4)"),
        ({"A": 5, "a": 4}, "'A' (5), 'a' (4)"),
    ],
)
def test_likely_the_same_names_are_refused_with_spellings_and_counts(labels: dict[str, int], says: str) -> None:
    (line,) = chosen(labels).listing.refusals
    assert says in line
    assert "\n" not in line
    assert chosen(labels, classes=tuple(labels)).listing.refusals == ()


def test_naming_one_of_two_spellings_does_not_lose_the_other() -> None:
    assert chosen({"benign": 5, "Benign": 4, "x": 5}, classes=("benign", "x")).listing.refusals != ()


def test_unseen_differences_are_one_class_and_are_told() -> None:
    found = chosen({"bösartig": 3, unicodedata.normalize("NFD", "bösartig"): 2, "benign\u200b": 1, "benign": 4})
    assert found.classes == ("benign", "bösartig")
    assert found.listing.refusals == ()
    first, second = sorted(found.listing.notes)
    assert "1 files ('benign\\u200b' (1))" in first
    assert "2 files" in second
    assert {entry.label for entry in found.listing.entries} == {"benign", "bösartig"}


def test_classes_in_the_config_are_read_in_the_same_form() -> None:
    found = chosen({"bösartig": 3, "benign": 2}, classes=(unicodedata.normalize("NFD", "bösartig"), "benign "))
    assert found.classes == ("bösartig", "benign")
    with pytest.raises(InputError, match=r"no example in /data has the label 'malign'.*'malignant'"):
        chosen({"malignant": 3, "benign": 2}, classes=("malign", "benign"))


def test_spellings_of_a_group_are_joined_and_told() -> None:
    found = chosen({"a": 6, "b": 6}, groups=("P01", "p01", "P 01", "P02"))
    assert {entry.group for entry in found.listing.entries} == {"P01", "P02"}
    (note,) = found.listing.notes
    assert "1 groups are spelled in several ways" in note
    assert "'P01' (3), 'p01' (3), 'P 01' (3)" in note


def test_labels_that_are_lists_of_others_are_refused() -> None:
    counts = {"Mass": 3, "Effusion": 4, "Effusion|Mass": 2, "No Finding": 5}
    (line,) = chosen(counts).listing.refusals
    assert "1 labels are several in one (first: 'Effusion|Mass', in all 2 images)" in line
    assert chosen(counts, classes=("Mass", "No Finding")).listing.refusals == ()
    # Letters with signs between them are names like others where their parts are none.
    assert chosen({"T+": 3, "T-": 3, "HER2+/ER-": 4, "a, b": 3}).listing.refusals == ()


def test_a_patient_is_one_with_and_without_the_letter_that_says_patient() -> None:
    found = chosen({"a": 6, "b": 6}, groups=("P07", "7", "patient_7", "P08"))
    assert len({entry.group for entry in found.listing.entries}) == 2
    assert "'P07' (3), '7' (3), 'patient_7' (3)" in found.listing.notes[0]
    assert found.listing.warnings == ()


def test_groups_with_and_without_a_letter_are_said() -> None:
    (line,) = chosen({"a": 6, "b": 6}, groups=("B00", "0", "B01", "01", "B02")).listing.warnings
    assert line.startswith("2 groups are written as a number and with letters before it ('0' and 'B00')")
    assert chosen({"a": 6, "b": 6}, groups=("A1", "B1", "2")).listing.warnings == ()


def test_an_empty_class_folder_is_refused_unless_other_classes_are_named() -> None:
    (line,) = chosen({"a": 3, "b": 3}, empty=("c",)).listing.refusals
    assert "the class folder 'c' is empty" in line
    assert chosen({"a": 3, "b": 3}, empty=("c",), classes=("a", "b")).listing.refusals == ()
    assert "'c' is empty" in chosen({"a": 3}, empty=("c",), classes=("a", "c")).listing.refusals[0]


def test_a_slip_of_the_pen_is_a_warning() -> None:
    (line,) = chosen({"malignant": 60, "malignat": 2, "benign": 40}).listing.warnings
    assert line == "label 'malignat' (2) may be a slip of the pen for 'malignant' (60)"


def test_the_positive_class_is_named_or_sensible() -> None:
    classes = ("abnormal", "normal")
    assert positive_index(DataConfig(), classes) == 0
    assert "'normal' is taken for its absence" in why_positive(DataConfig(), classes)
    assert positive_index(DataConfig(positive_class="normal"), classes) == 1
    assert why_positive(DataConfig(positive_class="normal"), classes) == "as data.positive_class says"
    assert "the last in class order" in why_positive(DataConfig(), ("cat", "dog"))
    with pytest.raises(InputError, match="there is no class 'norml'"):
        positive_index(DataConfig(positive_class="norml"), classes)
