"""Spellings: one normal form, and which names are likely one."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.data.sources.spelling import changed_names, is_slip, likeness, near_names, normal_form, same_names, visible

LONG = "1234567890123456789012345678901234567890"
TEXT = st.text(st.characters(blacklist_categories=("Cs",)), max_size=12)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("benign\u200b", "benign"),
        ("\ufeffbenign", "benign"),
        (" benign\u00a0", "benign"),
        ("grade  \t 1", "grade 1"),
        ("be\u00adnign", "benign"),
        (unicodedata.normalize("NFD", "bösartig"), "bösartig"),
        ("\u202abenign\u202c", "benign"),
    ],
)
def test_what_cannot_be_seen_makes_no_other_name(written: str, meant: str) -> None:
    assert normal_form(written) == meant


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("benign", "BENIGN"), ("0", "0.0"), ("0", "00"), ("1", "01"), ("no tumor", "no_tumor"), ("No-Tumor", "notumor"),
        ("grade 1", "grade1"), ("STRASSE", "straße"), ("１", "1"), ("'benign'", "benign"), ("benign.", "benign"),
        ("1,5", "1.5"), ("true", "True"), ("کتاب\u200cها", "کتابها"),
    ],
)  # fmt: skip
def test_spellings_of_one_name_are_alike(one: str, other: str) -> None:
    assert likeness(one) == likeness(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("CD3+", "CD3-"),
        ("1", "-1"),
        ("1 2", "12"),
        ("a", "b"),
        ("normal", "abnormal"),
        ("1.0", "10"),
        ("", "0"),
        (LONG, LONG[:-1] + "7"),
    ],
)
def test_names_that_differ_in_meaning_are_not_alike(one: str, other: str) -> None:
    assert likeness(one) != likeness(other)


@given(TEXT)
def test_the_normal_form_is_its_own_and_alike(name: str) -> None:
    form = normal_form(name)
    assert normal_form(form) == form == form.strip()
    assert likeness(form) == likeness(name)
    assert visible(name).isprintable()


def test_sets_of_spellings_come_with_their_counts() -> None:
    assert same_names({"benign": 6, "Benign": 3, "BENIGN": 1, "malignant": 9}) == [
        {"benign": 6, "Benign": 3, "BENIGN": 1}
    ]
    assert changed_names(["a", "a\u200b", "b"]) == {"a": {"a": 1, "a\u200b": 1}}


def test_a_rare_slip_of_the_pen_is_found_and_no_prefix_is_one() -> None:
    assert near_names({"malignant": 100, "malignat": 3, "benign": 90}) == [("malignat", "malignant")]
    assert near_names({"typical": 10, "atypical": 200, "male": 5, "female": 100, "grade1": 1, "grade2": 100}) == []
    assert is_slip("trian", "train")
    assert is_slip("tain", "train")
    assert not is_slip("train", "train")
    assert not is_slip("tarni", "train")
