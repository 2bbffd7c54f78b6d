"""Splits that last: what was once tested on stays the test, however the data grow.

A model is compared with its champion on the test split of the day. Were splits drawn anew whenever a patient is added,
most of that split would be what the champion learned from. So the split of every image and group is kept in the object
storage, under the model's name, and new ones are placed beside them (`assay.data.splitting`).

``splits/<name>.npz`` is one object, swapped under a generation precondition: of two ingests at once the later one sees
what the earlier one has placed. It holds 64 bits of hash of each image's content and of each group's name with its
split, also of what has left the source since: whoever comes back, comes back to the same side.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from assay.config import DataConfig
from assay.data.dataset import SPLITS
from assay.data.folds import assign_folds, fold_names
from assay.data.splitting import FOLD, KEPT, draw_splits
from assay.errors import AssayError, InputError
from assay.storage.files import ObjectNotFound, read_errors
from assay.storage.objects import GenerationMismatch, ObjectStore

if TYPE_CHECKING:
    import pandas as pd

FOLDER = "splits"
# Of the images that earlier snapshots knew: more than that is no accident of a few duplicates.
MOST_LEFT_OUT = 0.05
_ATTEMPTS = 20
_SETTINGS = ("valid_fraction", "test_fraction", "group_column")
_FAR_OFF = 0.02
_ANEW = "data.keep_splits=false draws all splits anew"


@dataclass(frozen=True, eq=False)
class KeptSplits:
    """The splits that earlier snapshots of a model's data gave.

    Attributes:
        keys: uint64 (N,), sorted: 64 bits of hash of contents and of the names of groups.
        splits: uint8 (N,), index into `SPLITS` of each.
        settings: Seed, fractions and group column of the last snapshot.
        names: What ``splits`` counts: the splits, or folds.
    """

    keys: npt.NDArray[np.uint64]
    splits: npt.NDArray[np.uint8]
    settings: dict[str, Any]
    names: tuple[str, ...] = SPLITS

    @classmethod
    def nothing(cls, names: tuple[str, ...] = SPLITS) -> KeptSplits:
        """Return what is known before the first snapshot."""
        return cls(np.zeros(0, np.uint64), np.zeros(0, np.uint8), {}, names)

    @classmethod
    def parse(cls, data: bytes, origin: str, names: tuple[str, ...] = SPLITS) -> KeptSplits:
        """Read what `to_bytes` wrote.

        Args:
            data: The object.
            origin: Its address, for the error.
            names: Of the splits or folds.

        Raises:
            InputError: It is damaged.
        """
        way_out = f"Restore the object; removing it draws the splits anew, as {_ANEW.partition('=')[0]}=false does."
        with read_errors(origin, way_out), np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            keys, splits = arrays["keys"].astype(np.uint64), arrays["splits"].astype(np.uint8)
            if keys.shape != splits.shape or (splits >= len(names)).any():
                raise ValueError("its arrays do not fit each other")
            return cls(keys, splits, json.loads(str(arrays["settings"])), names)

    def to_bytes(self) -> bytes:
        """Return all of it as one ``.npz`` file."""
        file = io.BytesIO()
        settings = np.array(json.dumps(self.settings, sort_keys=True))
        np.savez_compressed(file, keys=self.keys, splits=self.splits, settings=settings)
        return file.getvalue()

    def of(self, table: pd.DataFrame) -> npt.NDArray[np.object_]:
        """Return the split that each row's content had, else the one that its group had, else ``""``.

        Args:
            table: Columns sha256 and given_group ("" where the source names none), N rows.

        Returns:
            object (N,).
        """
        names = np.array(["", *self.names], dtype=object)
        by_content = self._find(_of_contents(table["sha256"]))
        by_group = np.where(table["given_group"] != "", self._find(_of_groups(table["given_group"])), 0)
        return names[np.where(by_content > 0, by_content, by_group)]

    def with_table(self, table: pd.DataFrame, settings: Mapping[str, Any]) -> KeptSplits:
        """Return this with the splits of a table's rows added; those of the table count.

        Args:
            table: Columns sha256, given_group and split.
            settings: Those that the table was split by.
        """
        sides = table["split"].map({name: number for number, name in enumerate(self.names)}).to_numpy(np.uint8)
        named = (table["given_group"] != "").to_numpy()
        keys = np.concatenate([self.keys, _of_groups(table["given_group"][named]), _of_contents(table["sha256"])])
        splits = np.concatenate([self.splits, sides[named], sides])
        # The last of equal keys counts.
        keys, at = np.unique(keys[::-1], return_index=True)
        return KeptSplits(keys, splits[::-1][at], dict(settings), self.names)

    def same_as(self, other: KeptSplits) -> bool:
        """Return whether nothing differs."""
        return (
            np.array_equal(self.keys, other.keys)
            and np.array_equal(self.splits, other.splits)
            and self.settings == other.settings
        )

    def _find(self, keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """Return 1 + the split's index of each key, 0 where it is not known."""
        if not len(self.keys):
            return np.zeros(len(keys), np.int64)
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[at] == keys, self.splits[at].astype(np.int64) + 1, 0)


@dataclass(frozen=True)
class Held:
    """A table whose splits follow earlier snapshots.

    Attributes:
        table: The rows given. Where the splits are not those that seed and fractions alone would give, it has the
            column `KEPT`: the split of each row, "" where it is left out.
        notes: What the user should hear of, one line each.
        metrics: Groups that kept their split, groups that are new, images left out.
    """

    table: pd.DataFrame
    notes: tuple[str, ...]
    metrics: dict[str, float]


def hold_splits(store: ObjectStore, name: str, table: pd.DataFrame, data: DataConfig, seed: int) -> Held:
    """Give the groups of a table the splits of earlier snapshots of a model's data, place the others, and keep all.

    A set of duplicates may join groups of different splits. What lies furthest from training keeps its place (test,
    then valid), and what had another split is left out: nothing that is tested on is ever trained on, and nothing that
    was trained on becomes a test.

    Args:
        store: Where they are kept.
        name: The model's.
        table: Columns id, label, split, group, given_group and sha256.
        data: Fractions, and whether splits are kept at all (`DataConfig.keep_splits`).
        seed: Of what is placed.

    Raises:
        InputError: Groups contradict the earlier splits for more than a few images, or a class has none in a split.
        AssayError: Other ingests of this name came between again and again.
    """
    at = f"{FOLDER}/{name}.npz"
    settings = {"seed": seed, **{key: getattr(data, key) for key in _SETTINGS}}
    drawn = draw_splits(table, data, seed).table
    for _ in range(_ATTEMPTS):
        before, generation = _read(store, at)
        known = before if data.keep_splits else KeptSplits.nothing()
        held, split = _hold(name, known, table, drawn, data, seed)
        notes = list(held.notes)
        if held.metrics["groups_kept"]:
            notes += _changed(name, before.settings, settings)
        elif not data.keep_splits and len(before.keys):
            notes.append(f"data.keep_splits false: the splits of {name} are drawn anew, and kept from now on")
        after = known.with_table(split, settings)
        if after.same_as(before):
            return Held(held.table, tuple(notes), held.metrics)
        try:
            store.write_bytes(at, after.to_bytes(), if_generation=generation)
        except GenerationMismatch:
            continue  # another ingest, or our own write whose answer was lost: what is there now counts
        return Held(held.table, tuple(notes), held.metrics)
    raise AssayError(f"{store.uri(at)}: {_ATTEMPTS} times another ingest of {name} came between. Run ingest again.")


def hold_folds(store: ObjectStore, name: str, table: pd.DataFrame, count: int, data: DataConfig, seed: int) -> Held:
    """Give the groups of a table the folds of earlier snapshots of a model's data, place the others, and keep all.

    A set of duplicates may join groups of different folds: all of it goes to the fold that most of its images had.

    Args:
        store: Where they are kept.
        name: The model's.
        table: Columns id, label, group, given_group and sha256.
        count: How many folds, 2 or more; folds of another number are kept apart.
        data: Whether splits are kept at all (`DataConfig.keep_splits`).
        seed: Of what is placed.

    Returns:
        The table, with the column `FOLD` where the folds are not those that the seed alone would give.

    Raises:
        InputError: A class has too few groups.
        AssayError: Other ingests of this name came between again and again.
    """
    at, names = f"{FOLDER}/{name}/{count}-folds.npz", fold_names(count)
    drawn = assign_folds(table, count, seed)
    for _ in range(_ATTEMPTS):
        before, generation = _read(store, at, names)
        known = before if data.keep_splits else KeptSplits.nothing(names)
        remembered = _of_most(known.of(table), table["group"])
        kept = len(set(table["group"][remembered != ""]))
        folds = assign_folds(table, count, seed, remembered) if kept else drawn
        after = known.with_table(table.assign(split=np.array(names, dtype=object)[folds]), {"seed": seed})
        if not after.same_as(before):
            try:
                store.write_bytes(at, after.to_bytes(), if_generation=generation)
            except GenerationMismatch:
                continue  # as in `hold_splits`
        notes = (f"{kept:,} of {table['group'].nunique():,} groups have the fold of earlier snapshots of {name}",)
        same = np.array_equal(folds, drawn)
        return Held(table if same else table.assign(**{FOLD: folds}), notes if kept else (), {})
    raise AssayError(f"{store.uri(at)}: {_ATTEMPTS} times another ingest of {name} came between. Run ingest again.")


def _of_most(remembered: npt.NDArray[np.object_], groups: pd.Series[str]) -> npt.NDArray[np.object_]:
    """Return for each row the fold that most rows of its group had, "" where none had one."""
    import pandas as pd

    had = pd.DataFrame({"group": groups.to_numpy(), "fold": remembered}).query("fold != ''")
    most = had.groupby("group")["fold"].agg(lambda folds: folds.mode().iloc[0])
    return groups.map(most).fillna("").to_numpy(object)


def _hold(
    name: str, known: KeptSplits, table: pd.DataFrame, drawn: pd.DataFrame, data: DataConfig, seed: int
) -> tuple[Held, pd.DataFrame]:
    """Return what is held, and the rows that have a split with it."""
    remembered = known.of(table)
    known_groups = set(table["group"][remembered != ""])
    groups = table["group"].nunique()
    metrics = {"groups_kept": float(len(known_groups)), "groups_new": float(groups - len(known_groups))}
    if not known_groups:
        return Held(table, (), {**metrics, "images_left_out": 0.0}), drawn
    held = draw_splits(table, data, seed, remembered)
    left_out = len(table) - len(held.table)
    metrics["images_left_out"] = float(left_out)
    if left_out > MOST_LEFT_OUT * (remembered != "").sum():
        raise InputError(
            f"{left_out:,} of {len(table):,} images are in groups or sets of duplicates that join different splits of "
            f"the earlier snapshots of {name}: other groups than before? {_ANEW}, once."
        )
    notes = [f"{len(known_groups):,} of {groups:,} groups have the split of earlier snapshots of {name}", *held.notes]
    share = held.table["split"].value_counts(normalize=True)
    given = set(table["split"])
    for split, asked in (("valid", data.valid_fraction), ("test", data.test_fraction)):
        if split not in given and abs(share[split] - asked) > _FAR_OFF:
            notes.append(
                f"{share[split]:.1%} of the images are in {split}, {asked:.0%} are asked for: groups that are new make "
                f"up for it as they come; {_ANEW}"
            )
    kept = held.table.set_index("id")["split"].reindex(table["id"]).fillna("").to_numpy()
    fresh = drawn.set_index("id")["split"].reindex(table["id"]).to_numpy()
    same = bool((kept == fresh).all())
    return Held(table if same else table.assign(**{KEPT: kept}), tuple(notes), metrics), held.table


def _changed(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    differ = [f"{key} {before.get(key)} is {now[key]} now" for key in now if before.get(key) != now[key]]
    if not before or not differ:
        return []
    return [f"{', '.join(differ)}: the splits of {name} stay as they are; {_ANEW}"]


def _read(store: ObjectStore, at: str, names: tuple[str, ...] = SPLITS) -> tuple[KeptSplits, int]:
    try:
        found = store.read(at)
    except ObjectNotFound:
        return KeptSplits.nothing(names), 0
    return KeptSplits.parse(found.data, store.uri(at), names), found.generation


def _of_contents(values: Iterable[str]) -> npt.NDArray[np.uint64]:
    return np.array([int(value[:16], 16) for value in values], dtype=np.uint64)


def _of_groups(names: Iterable[str]) -> npt.NDArray[np.uint64]:
    return _of_contents(hashlib.sha256(f"group {name}".encode()).hexdigest() for name in names)
