"""Splits that last: no group changes its split while data grow, and nothing that is tested on is trained on."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from assay.config import DataConfig
from assay.data.folds import assign_folds
from assay.data.ingest import IngestResult, ingest
from assay.data.kept import FOLDER, Held, KeptSplits, hold_folds, hold_splits
from assay.data.plan import make_plan
from assay.data.snapshot import Snapshot, fingerprint
from assay.data.splitting import FOLD, KEPT, assign_splits
from assay.errors import InputError
from assay.storage.local import LocalStore
from assay.storage.objects import ObjectStore

DATA = DataConfig()
Row = tuple[str, str, str]


def frame(rows: Sequence[Row], groups: Sequence[str] | None = None) -> pd.DataFrame:
    """A table of (content, given group, label); ``groups`` are those after duplicates were joined."""
    given = [group for _, group, _ in rows]
    return pd.DataFrame(
        {
            "id": [name for name, _, _ in rows],
            "label": [label for _, _, label in rows],
            "split": "",
            "group": groups or [group or f"image:{name}" for name, group, _ in rows],
            "given_group": given,
            "sha256": [hashlib.sha256(name.encode()).hexdigest() for name, _, _ in rows],
        }
    )


def splits(held: Held, seed: int = 0, data: DataConfig = DATA) -> dict[str, str]:
    """The split of each image, as preprocess decides it from what ingest has written."""
    out = assign_splits(held.table, data, seed).table
    return dict(zip(out["id"], out["split"], strict=True))


def patients(first: int, last: int, images: int = 4) -> list[Row]:
    return [(f"p{p}-{i}", f"p{p}", "ab"[p % 2]) for p in range(first, last) for i in range(images)]


def hold(store: ObjectStore, table: pd.DataFrame, data: DataConfig = DATA, seed: int = 0) -> Held:
    return hold_splits(store, "tiny", table, data, seed)


@pytest.mark.parametrize(
    ("seed", "grouped", "fraction"),
    [
        (0, True, 0.15),
        pytest.param(1, False, 0.1, marks=pytest.mark.slow),
        pytest.param(2, True, 0.25, marks=pytest.mark.slow),
    ],
)
def test_no_group_changes_its_split_in_fifty_growing_snapshots(
    tmp_path: Path, seed: int, grouped: bool, fraction: float
) -> None:
    largest, begin = 6, 60
    random = np.random.default_rng(seed)
    store = LocalStore(tmp_path)
    data = DataConfig(valid_fraction=fraction, test_fraction=fraction)
    rows: list[Row] = []
    before: dict[str, str] = {}
    total = 0
    for step in range(50):
        for _ in range(begin if step == 0 else int(random.integers(1, 4))):
            label = "ab"[int(random.random() < 0.3)]
            name = f"g{total}"
            rows += [(f"{name}-{i}", name if grouped else "", label) for i in range(random.integers(1, largest + 1))]
            total += 1
        # A few leave the source; the order is another each time.
        rows = [row for row in rows if random.random() > 0.002]
        table = frame([rows[i] for i in random.permutation(len(rows))])
        now = splits(hold_splits(store, "tiny", table, data, seed), seed, data)
        assert now.keys() == set(table["id"])
        assert all(before[name] == split for name, split in now.items() if name in before)
        before.update(now)
        of_groups: dict[str, set[str]] = {}
        for name, group in zip(table["id"], table["group"], strict=True):
            of_groups.setdefault(group, set()).add(now[name])
        assert all(len(found) == 1 for found in of_groups.values())
        # One group more or less is what whole groups can do.
        slack = 0.02 + largest / len(rows)
        for split in ("valid", "test"):
            share = np.mean([found == split for found in now.values()])
            assert abs(share - fraction) <= slack, (step, split, share)


def test_the_same_data_again_give_the_same_snapshot_and_a_seed_alone_needs_no_column(store: ObjectStore) -> None:
    first = hold(store, frame(patients(0, 30)))
    assert KEPT not in first.table
    assert first.notes == ()
    again = hold(store, frame(patients(0, 30)))
    assert fingerprint(again.table, "image") == fingerprint(first.table, "image")
    assert again.metrics == {"groups_kept": 30.0, "groups_new": 0.0, "images_left_out": 0.0}
    grown = hold(store, frame(patients(0, 34)))
    assert grown.metrics["groups_new"] == 4
    assert "30 of 34 groups have the split of earlier snapshots of tiny" in grown.notes[0]
    # What is kept is part of the fingerprint: the same rows without a history are another snapshot.
    alone = frame(patients(0, 34))
    assert (KEPT in grown.table) == (fingerprint(grown.table, "image") != fingerprint(alone, "image"))
    generation = store.read(f"{FOLDER}/tiny.npz").generation
    assert fingerprint(hold(store, frame(patients(0, 34))).table, "image") == fingerprint(grown.table, "image")
    assert store.read(f"{FOLDER}/tiny.npz").generation == generation
    # Another name has its own.
    other = hold_splits(store, "other", alone, DATA, 0)
    assert other.metrics["groups_kept"] == 0


def test_what_comes_back_renamed_or_without_its_group_comes_back_to_its_side(store: ObjectStore) -> None:
    before = splits(hold(store, frame(patients(0, 40))))
    hold(store, frame(patients(20, 60)))
    table = frame(patients(0, 60))
    table["id"] = "moved/" + table["id"]
    table.loc[:79, "given_group"] = ""
    table.loc[:79, "group"] = "image:" + table["id"][:80]
    now = splits(hold(store, table))
    assert all(now[f"moved/{name}"] == split for name, split in before.items())


def test_duplicates_that_join_a_test_group_to_a_training_group_leave_the_test_alone(store: ObjectStore) -> None:
    rows = patients(0, 100)
    before = splits(hold(store, frame(rows)))
    tested = next(row for row in rows if before[row[0]] == "test")
    trained = next(row for row in rows if before[row[0]] == "train" and row[2] == tested[2])
    joined = [*rows, ("bridge", "", tested[2])]
    both = {tested[1], trained[1]}
    groups = [min(both) if group in both or name == "bridge" else group for name, group, _ in joined]
    held = hold(store, frame(joined, groups))
    now = splits(held)
    assert now["bridge"] == "test"
    lost = before.keys() - now.keys()
    assert lost == {name for name, group, _ in rows if group == trained[1]}
    assert all(before[name] == split for name, split in now.items() if name in before)
    assert held.metrics["images_left_out"] == len(lost) == 4
    assert any(note.startswith("LEFT OUT: 4 images") for note in held.notes)
    assert any(note.startswith("LEFT OUT: 4 images") for note in assign_splits(held.table, DATA, 0).notes)
    # Once they are apart again, everyone is where they were.
    assert splits(hold(store, frame(rows))) == before


def test_other_groups_are_refused_with_the_way_out_which_draws_anew_and_is_kept(store: ObjectStore) -> None:
    rows = [(name, "", label) for name, _, label in patients(0, 60)]
    before = splits(hold(store, frame(rows)))
    grouped = frame(patients(0, 60))
    with pytest.raises(InputError, match=r"earlier snapshots of tiny.*data\.keep_splits=false") as error:
        hold(store, grouped)
    assert "\n" not in str(error.value)
    assert splits(hold(store, frame(rows))) == before
    anew = DATA.model_copy(update={"keep_splits": False})
    held = hold(store, grouped, anew)
    assert "drawn anew" in held.notes[-1]
    assert KEPT not in held.table
    assert splits(hold(store, grouped)) == splits(held)


@pytest.mark.parametrize(
    ("update", "seed", "said"),
    [
        ({}, 7, "seed 0 is 7 now"),
        ({"test_fraction": 0.3}, 0, "test_fraction 0.15 is 0.3 now"),
        ({"group_column": "patient"}, 0, "group_column None is patient now"),
    ],
)
def test_another_seed_or_fraction_moves_nobody_and_is_said(
    store: ObjectStore, update: dict[str, object], seed: int, said: str
) -> None:
    table = frame(patients(0, 60))
    before = splits(hold(store, table))
    data = DATA.model_copy(update=update)
    held = hold(store, table, data, seed)
    assert splits(held, seed, data) == before
    (line,) = [note for note in held.notes if said in note]
    assert line.endswith("the splits of tiny stay as they are; data.keep_splits=false draws all splits anew")
    # New groups go to where the new fraction lacks them.
    if "test_fraction" in update:
        more = splits(hold(store, frame(patients(0, 90)), data), 0, data)
        assert abs(np.mean([split == "test" for split in more.values()]) - 0.3) < 0.02


def test_splits_of_the_source_count_and_a_class_that_is_lost_is_named(store: ObjectStore) -> None:
    table = frame(patients(0, 60))
    before = splits(hold(store, table))
    tests = {name for name, split in before.items() if split == "test"}
    given = table.assign(
        split=["test" if name not in tests and number < 40 else "train" for number, name in enumerate(table["id"])]
    )
    now = splits(hold(store, given))
    assert {name for name, split in now.items() if split == "test"} == set(given["id"][given["split"] == "test"])
    gone = table[~(table["id"].isin(tests) & (table["label"] == "a"))].reset_index(drop=True)
    other = LocalStore(Path(store.root) / "other") if not store.root.startswith("gs://") else None
    if other is not None:
        hold(other, table)
        with pytest.raises(InputError, match=r"test split has no image of class 'a'.*data\.keep_splits=false"):
            hold(other, gone)


def test_a_new_class_comes_into_every_split_beside_groups_that_stay(store: ObjectStore) -> None:
    before = splits(hold(store, frame(patients(0, 40))))
    rare = [(f"rare{p}-{i}", f"rare{p}", "rare") for p in range(3) for i in range(2)]
    now = splits(hold(store, frame([*patients(0, 40), *rare])))
    assert all(now[name] == split for name, split in before.items())
    assert {now[name] for name, _, _ in rare} == {"train", "valid", "test"}


def test_ingests_at_once_agree_on_what_both_hold(store: ObjectStore) -> None:
    start = threading.Barrier(4)
    found: list[dict[str, str]] = []

    def one(number: int) -> None:
        table = frame([*patients(0, 30), *patients(100 + 10 * number, 120 + 10 * number)])
        start.wait()
        found.append(splits(hold(store, table, seed=number), number))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    together: dict[str, str] = {}
    for splits_ in found:
        assert all(together.setdefault(name, split) == split for name, split in splits_.items())


def test_a_damaged_record_is_named(store: ObjectStore) -> None:
    hold(store, frame(patients(0, 30)))
    content = store.read_bytes(f"{FOLDER}/tiny.npz")
    assert KeptSplits.parse(content, "x").settings["seed"] == 0
    store.write_bytes(f"{FOLDER}/tiny.npz", content[:-40])
    with pytest.raises(InputError, match=r"splits/tiny\.npz: cannot be read .*Restore the object"):
        hold(store, frame(patients(0, 30)))


def test_a_grown_source_is_ingested_and_preprocessed_with_the_splits_of_before(
    class_folders: Path, tmp_path: Path, draw
) -> None:
    data = DataConfig(source=str(class_folders))

    def run(seed: int = 0) -> tuple[IngestResult, dict[str, str]]:
        result = ingest(data, str(tmp_path / "store"), tmp_path / "work", name="tiny", seed=seed)
        records = make_plan(data, result.snapshot_dir, seed).records
        found = {name: split for split, frame in records.items() for name in frame["id"]}
        return result, found

    first, before = run()
    again, same = run()
    assert (again.fingerprint, same) == (first.fingerprint, before)
    for number in range(20, 26):
        draw(class_folders / "benign" / f"{number}.png", number)
    second, after = run()
    assert len(after) == 26
    assert all(after[name] == split for name, split in before.items())
    assert second.metrics["groups_kept"] == 20
    assert KEPT in Snapshot.open(second.snapshot_dir).table
    third, other_seed = run(seed=5)
    assert other_seed == after
    assert third.fingerprint == second.fingerprint or KEPT in Snapshot.open(third.snapshot_dir).table


def folds(held: Held, count: int = 5, seed: int = 0) -> dict[str, int]:
    """The fold of each image, as preprocess takes it from what ingest has written."""
    found = held.table[FOLD] if FOLD in held.table else assign_folds(held.table, count, seed)
    return dict(zip(held.table["id"], np.asarray(found).tolist(), strict=True))


def test_no_group_changes_its_fold_in_growing_snapshots_and_folds_stay_even(tmp_path: Path) -> None:
    store, random = LocalStore(tmp_path), np.random.default_rng(0)
    rows: list[Row] = []
    before: dict[str, int] = {}
    for step in range(15):
        first = len({group for _, group, _ in rows})
        for group in range(first, first + (40 if step == 0 else int(random.integers(1, 4)))):
            label = "ab"[int(random.random() < 0.3)]
            rows += [(f"p{group}-{i}", f"p{group}", label) for i in range(random.integers(1, 6))]
        now = folds(hold_folds(store, "tiny", frame(rows), 5, DATA, 0))
        assert {name: now[name] for name in before} == before
        sizes = np.bincount(list(now.values()), minlength=5) / len(now)
        assert np.abs(sizes - 0.2).max() < 0.04
        before = now


def test_folds_of_another_number_are_others_and_duplicates_follow_the_most(store: ObjectStore) -> None:
    table = frame(patients(0, 30))
    five = folds(hold_folds(store, "tiny", table, 5, DATA, 0))
    assert FOLD not in hold_folds(store, "tiny", table, 5, DATA, 0).table
    three = hold_folds(store, "tiny", table, 3, DATA, 0)
    assert set(folds(three, 3).values()) == {0, 1, 2}
    # One image of a patient turns out to be of another's set of duplicates, in another fold.
    other = next(p for p in range(2, 30, 2) if five[f"p{p}-0"] != five["p0-0"])
    table["group"] = table["group"].where(table["id"] != f"p{other}-0", "p0")
    joined = folds(hold_folds(store, "tiny", table, 5, DATA, 0))
    assert joined[f"p{other}-0"] == five["p0-0"]
    assert joined[f"p{other}-1"] == five[f"p{other}-1"]
    anew = hold_folds(store, "tiny", table, 5, DataConfig(keep_splits=False), 1)
    assert folds(anew, seed=1) != joined


def test_a_grown_source_is_ingested_and_preprocessed_with_the_folds_of_before(tmp_path: Path) -> None:
    root = str(tmp_path / "store")
    found = {}
    for images, slides in ((60, 12), (75, 15)):
        data = DataConfig(source=f"demo://tissue?images={images}&size=16&slides={slides}&difficulty=0&seed=0")
        snapshot = ingest(data, root, tmp_path, name="tiny", folds=3).snapshot_uri
        records = pd.concat(list(make_plan(data, snapshot, 0, 3).records.values()))
        found[images] = dict(zip(records["sha256"], records[FOLD], strict=True))
    common = set(found[60]) & set(found[75])
    assert common
    assert {name: found[75][name] for name in common} == {name: found[60][name] for name in common}
