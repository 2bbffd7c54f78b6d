"""Splitting: no group in two splits, every class in each, near the fractions, whatever the order of the rows."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.config import DataConfig
from assay.data.splitting import Assignment, assign_splits
from assay.errors import InputError

SPLITS = ("train", "valid", "test")


def frame(rows: list[tuple[str, str]], splits: list[str] | None = None) -> pd.DataFrame:
    """A table of (group, label) rows; an empty group is one of its own."""
    ids = [f"image-{number}" for number in range(len(rows))]
    return pd.DataFrame(
        {
            "id": ids,
            "label": [label for _, label in rows],
            "split": splits or [""] * len(rows),
            "group": [group or name for (group, _), name in zip(rows, ids, strict=True)],
        }
    )


def splits_of(table: pd.DataFrame) -> dict[str, set[str]]:
    return table.groupby("group")["split"].agg(set).to_dict()


def feasible(table: pd.DataFrame) -> bool:
    """Try every assignment of groups to splits."""
    held = [frozenset(labels) for labels in table.groupby("group")["label"].agg(set)]
    classes = set(table["label"])
    return any(
        all(set().union(*(g for g, s in zip(held, ways, strict=True) if s == split)) == classes for split in range(3))
        for ways in itertools.product(range(3), repeat=len(held))
    )


def check(assigned: Assignment, table: pd.DataFrame) -> None:
    out = assigned.table
    assert sorted(out["id"]) == sorted(table["id"])
    assert set(out["split"]) == set(SPLITS)
    assert all(len(found) == 1 for found in splits_of(out).values())
    for split in SPLITS:
        assert set(out["label"][out["split"] == split]) == set(table["label"])


groups = st.sampled_from([f"g{number}" for number in range(12)])
rows = st.lists(st.tuples(groups | st.just(""), st.sampled_from("ab")), min_size=6, max_size=60)


@given(rows, st.integers(0, 2**31 - 1))
@settings(deadline=None, max_examples=150)
def test_groups_stay_whole_and_classes_are_everywhere(rows: list[tuple[str, str]], seed: int) -> None:
    table = frame(rows)
    try:
        assigned = assign_splits(table, DataConfig(), seed)
    except InputError as error:
        assert "class '" in str(error) and "\n" not in str(error)
        if table["group"].nunique() <= 8:
            assert not feasible(table)
        return
    check(assigned, table)


@given(
    st.lists(st.integers(0, 3), min_size=9, max_size=9),
    st.lists(st.tuples(st.integers(0, 11), st.sampled_from("abc")), max_size=20),
    st.integers(0, 100),
)
@settings(deadline=None, max_examples=100)
def test_a_split_is_found_whenever_there_is_one(holders: list[int], more: list[tuple[int, str]], seed: int) -> None:
    # In each of three parts of four groups, some group holds each class: there is a way, and few others.
    rows = [(f"g{4 * (number // 3) + holder}", "abc"[number % 3]) for number, holder in enumerate(holders)]
    table = frame(rows + [(f"g{group}", label) for group, label in more])
    check(assign_splits(table, DataConfig(), seed), table)


@given(rows, st.integers(0, 1000), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=60)
def test_the_order_of_the_files_does_not_matter(rows: list[tuple[str, str]], seed: int, random: object) -> None:
    table = frame(rows)
    shuffled = table.sample(frac=1, random_state=seed % 97)
    try:
        first = assign_splits(table, DataConfig(), seed).table
    except InputError:
        return
    pd.testing.assert_frame_equal(first, assign_splits(shuffled, DataConfig(), seed).table)


@given(
    st.integers(0, 2**31 - 1),
    st.integers(30, 400),
    st.integers(1, 12),
    st.floats(0.1, 0.3),
    st.floats(0.1, 0.3),
)
@settings(deadline=None, max_examples=60)
def test_fractions_are_near_those_asked(seed: int, count: int, largest: int, valid: float, test: float) -> None:
    random = np.random.default_rng(seed)
    names = np.repeat(np.arange(count), random.integers(1, largest + 1, count))
    table = frame([(f"g{name}", "ab"[random.integers(2)]) for name in names])
    out = assign_splits(table, DataConfig(valid_fraction=valid, test_fraction=test), seed).table
    for label in "ab":
        of_class = out[out["label"] == label]
        for split, fraction in (("valid", valid), ("test", test)):
            assert abs((of_class["split"] == split).sum() - fraction * len(of_class)) <= largest + 1


def test_single_images_are_dealt_to_the_image() -> None:
    table = frame([("", "ab"[number % 2]) for number in range(1000)])
    counts = assign_splits(table, DataConfig(), 3).table.groupby(["split", "label"]).size()
    assert counts.to_dict() == {
        ("train", "a"): 350, ("train", "b"): 350, ("valid", "a"): 75, ("valid", "b"): 75,
        ("test", "a"): 75, ("test", "b"): 75,
    }  # fmt: skip


def test_the_seed_decides_who_goes_where() -> None:
    table = frame([(f"g{number // 3}", "ab"[number % 2]) for number in range(120)])
    first, again, other = (assign_splits(table, DataConfig(), seed).table for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert splits_of(first) != splits_of(other)


def test_rows_come_out_mixed() -> None:
    table = frame([("", "a")] * 100 + [("", "b")] * 100)
    labels = assign_splits(table, DataConfig(), 0).table["label"]
    assert 30 < (labels[:100] == "a").sum() < 70


def test_given_splits_are_kept() -> None:
    rows = [(f"g{number // 2}", "ab"[number % 2]) for number in range(30)]
    table = frame(rows, ["train"] * 18 + ["valid"] * 6 + ["test"] * 6)
    assigned = assign_splits(table, DataConfig(), 0)
    out = assigned.table.set_index("id").loc[table["id"]]
    assert list(out["split"]) == list(table["split"])
    assert assigned.notes == ()


def test_a_missing_validation_split_comes_out_of_train_by_groups() -> None:
    rows = [(f"g{number // 4}", "ab"[number % 2]) for number in range(240)]
    table = frame(rows, ["train"] * 160 + ["test"] * 80)
    assigned = assign_splits(table, DataConfig(valid_fraction=0.25), 0)
    check(assigned, table)
    out = assigned.table.set_index("id").loc[table["id"]]
    assert set(out["split"][160:]) == {"test"}
    assert (out["split"] == "valid").sum() == 40
    assert "no valid split: taken from train by whole groups" in assigned.notes[0]


def test_a_folder_of_train_alone_is_split() -> None:
    table = frame([("", "ab"[number % 2]) for number in range(40)], ["train"] * 40)
    check(assign_splits(table, DataConfig(), 0), table)


def test_images_without_a_split_join_the_training_side() -> None:
    table = frame([("", "ab"[number % 2]) for number in range(60)], [""] * 30 + ["test"] * 30)
    assigned = assign_splits(table, DataConfig(), 0)
    check(assigned, table)
    assert "30 images without a given split" in assigned.notes[0]


def test_a_group_that_spans_given_splits_is_moved_to_train_and_said() -> None:
    rows = [("", "ab"[number % 2]) for number in range(30)]
    rows[0] = rows[25] = ("patient", "a")
    rows[20] = rows[26] = ("other", "b")
    table = frame(rows, ["train"] * 18 + ["valid"] * 6 + ["test"] * 6)
    assigned = assign_splits(table, DataConfig(), 0)
    out = assigned.table.set_index("id")["split"]
    assert out["image-25"] == "train"
    assert out["image-26"] == "valid"
    assert (out == "test").sum() == 4
    assert "LEAK CLOSED: 2 groups" in assigned.notes[0]
    assert "1 from test to train" in assigned.notes[0]
    assert "1 from test to valid" in assigned.notes[0]


def test_the_limit_counts_each_class_of_each_split() -> None:
    table = frame([("", "ab"[number % 2]) for number in range(300)])
    assigned = assign_splits(table, DataConfig(limit_per_class=10), 0)
    assert set(assigned.table.groupby(["split", "label"]).size()) == {10}
    assert "60 of 300 images" in assigned.notes[0]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            frame([("", "a")] * 9 + [("", "rare")] * 2),
            "class 'rare' has 2 images, but train, valid and test need 3",
        ),
        (frame([("", "a")] * 9 + [("p", "rare")] * 9 + [("q", "rare")]), "class 'rare' has 10 images from 2 groups"),
        (frame([("", "a"), ("", "b")] * 2, ["train", "train", "valid", "valid"]), "class 'a' has 1 images"),
        (
            frame([("", "a"), ("", "b")] * 3, ["train"] * 2 + ["valid"] * 2 + ["test", "test"]).assign(
                label=["a", "b", "a", "b", "a", "a"]
            ),
            "the test split has no image of class 'b'",
        ),
        (frame([("", "a"), ("", "b")] * 2, ["valid", "valid", "test", "test"]), "nothing to train on"),
        (frame([("", "a"), ("", "b")] * 2, ["trian"] * 4), "unknown split 'trian'"),
    ],
)
def test_impossible_splits_are_named_in_one_line(table: pd.DataFrame, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        assign_splits(table, DataConfig(), 0)
    assert "\n" not in str(error.value)


def test_groups_that_cannot_cover_the_classes_are_named() -> None:
    # Every class is in three groups, but only x and one pair of the others hold all classes.
    table = frame([("p", "b"), ("p", "c"), ("q", "c"), ("q", "d"), ("r", "b"), ("r", "d"), *(("x", k) for k in "bcd")])
    assert not feasible(table)
    with pytest.raises(InputError, match=r"class '.' is in 3 groups only. Add groups"):
        assign_splits(table, DataConfig(), 0)
