"""Splitting without leakage: whole groups into train, valid and test, every class in each, near the fractions asked.

scikit-learn's StratifiedGroupKFold makes folds of equal size; three splits of 70, 15 and 15 percent would be
glued together from twenty of them, of which small sets leave some empty. The same greedy rule (large groups
first, each to where the class counts then fit best) is therefore applied to the fractions themselves.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from assay.config import DataConfig
from assay.data.dataset import SPLITS, Counts
from assay.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

# Column of a snapshot's table: the split of each row where earlier snapshots decide it, "" where a row is left out.
KEPT = "kept"
# Column of a table that is split: the split or fold that a row had before, "" where it had none.
REMEMBERED = "remembered"
# Column of a table with folds: the fold of each row, from 0.
FOLD = "fold"


@dataclass(frozen=True)
class Assignment:
    """What splitting decided.

    Attributes:
        table: The rows given, with a split each, in an order that mixes the classes and depends on ids and
            seed alone.
        notes: Decisions that the user should hear of, one line each.
    """

    table: pd.DataFrame
    notes: tuple[str, ...]


def assign_splits(table: pd.DataFrame, data: DataConfig, seed: int) -> Assignment:
    """Give every row a split; no group is in two.

    Args:
        table: Columns id, label, split ("" where the source gives none) and group; with the column `KEPT`, splits
            are those, and what has none is left out.
        data: `valid_fraction`, `test_fraction` and `limit_per_class` are used.
        seed: Decides which groups go where.

    Returns:
        The rows with their splits, and what was decided.

    Raises:
        InputError: A class is missing from a given split, or has too few images or groups for the splits.
    """
    if KEPT in table:
        here = (table[KEPT] != "").to_numpy()
        drawn = Assignment(_mixed(table[here].assign(split=table[KEPT][here]), seed), _kept_notes(here))
        _check_classes(drawn.table, kept=True)
    else:
        drawn = draw_splits(table, data, seed)
    if data.limit_per_class is None:
        return drawn
    notes = list(drawn.notes)
    return Assignment(_limit(drawn.table, data.limit_per_class, notes), tuple(notes))


def draw_splits(
    table: pd.DataFrame, data: DataConfig, seed: int, remembered: npt.NDArray[np.object_] | None = None
) -> Assignment:
    """Do what `assign_splits` does without a limit, around splits that are to stay.

    Splits that the source gives are kept. Rows without one belong to the training side, from which a missing
    validation or test split is taken (by its fraction of that side). A group, or a set of duplicates, that spans
    given splits goes as a whole to the first of train, valid and test that it is in: a score is never helped.

    Args:
        table: As in `assign_splits`, N rows.
        data: As in `assign_splits`.
        seed: As in `assign_splits`.
        remembered: object (N,), the split that each row had before, or "". It counts where the source leaves it open.
            Of a group that joins several, what is furthest from training stays and the others are left out.

    Returns:
        The rows with their splits, without those left out, and what was decided.

    Raises:
        InputError: As in `assign_splits`.
    """
    if remembered is not None:
        table = table.assign(**{REMEMBERED: remembered})
    table = _mixed(table, seed)
    notes: list[str] = []
    split = _unite_groups(table, notes)
    given = [name for name in SPLITS if (split == name).any()]
    wanted = {"valid": data.valid_fraction, "test": data.test_fraction}
    missing = {name: fraction for name, fraction in wanted.items() if name not in given}
    pool = (split == "train") | (split == "")
    if not pool.any():
        raise InputError(
            f"the source gives the splits {' and '.join(given)} but nothing to train on. Add a train split, or remove "
            "the splits to have them made."
        )
    if given and (split == "").any():
        notes.append(f"{(split == '').sum():,} images without a given split were put on the training side")
    split[pool] = "train"
    table = table.assign(split=split)
    if missing:
        if remembered is not None:
            table, pool = _leave_out(table, pool, ["train", *missing], notes)
        check_enough(table[pool], ["train", *missing])
        chosen = split_groups(table[pool], {"train": 1 - sum(missing.values()), **missing}, seed)
        table.loc[pool, "split"] = chosen
        if given:
            notes.append(f"the source gives no {' and no '.join(missing)} split: taken from train by whole groups")
    _check_classes(table, kept=remembered is not None)
    return Assignment(table.drop(columns=REMEMBERED, errors="ignore"), tuple(notes))


def _leave_out(
    table: pd.DataFrame, pool: npt.NDArray[np.bool_], splits: Sequence[str], notes: list[str]
) -> tuple[pd.DataFrame, npt.NDArray[np.bool_]]:
    """Give each group of the pool one remembered split, and leave out the rows that had another."""
    rank = table[REMEMBERED].map({name: number for number, name in enumerate(splits)}).where(pool)
    last = rank.groupby(table["group"]).transform("max")
    stays = (rank.isna() | (rank == last)).to_numpy()
    names = np.array([*splits, ""], dtype=object)
    table = table.assign(**{REMEMBERED: names[last.fillna(len(splits)).astype(int)]})
    if not stays.all():
        notes.append(_left_out(int((~stays).sum())))
    return table[stays].reset_index(drop=True), pool[stays]


def _kept_notes(here: npt.NDArray[np.bool_]) -> tuple[str, ...]:
    note = "the splits follow those of earlier snapshots of this model's data (data.keep_splits)"
    return (note,) if here.all() else (note, _left_out(int((~here).sum())))


def _left_out(images: int) -> str:
    return (
        f"LEFT OUT: {images:,} images that had another split before than what they now share a group or duplicates "
        "with: tests stay tests, and nothing that is tested on is trained on"
    )


def _mixed(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    return table.iloc[_order(table["id"].tolist(), seed)].reset_index(drop=True)


def _order(ids: Sequence[str], seed: int) -> list[int]:
    """Return an order of the rows that mixes them and does not depend on the order in which they came."""
    keys = [hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=16).digest() for name in ids]
    return sorted(range(len(keys)), key=keys.__getitem__)


def _unite_groups(table: pd.DataFrame, notes: list[str]) -> npt.NDArray[Any]:
    """Return the given splits, with each group in one of them."""
    rank = table["split"].map({name: number for number, name in enumerate(SPLITS)} | {"": 0})
    if rank.isna().any():
        strange = sorted(set(table["split"][rank.isna()]))
        raise InputError(f"unknown split {', '.join(map(repr, strange))}. The splits are {', '.join(SPLITS)}.")
    first = rank.groupby(table["group"]).transform("min")
    moved = first != rank
    split = np.where(moved, np.array(SPLITS, dtype=object)[first.astype(int)], table["split"]).astype(object)
    if moved.any():
        groups = table["group"][moved].nunique()
        ways = Counter(zip(table["split"][moved], split[moved], strict=True))
        detail = ", ".join(f"{count:,} from {source} to {target}" for (source, target), count in sorted(ways.items()))
        notes.append(
            f"LEAK CLOSED: {groups:,} groups or sets of duplicates span the splits that the source gives; all their "
            f"images were put on one side ({detail}), so that no score is helped by images seen in training"
        )
    return split


def check_enough(table: pd.DataFrame, splits: Sequence[str]) -> None:
    """Raise InputError where a class has fewer groups than there are splits that each need one."""
    for label, rows in table.groupby("label", sort=True):
        groups = rows["group"].nunique()
        if groups < len(splits):
            listed = f"{', '.join(splits[:-1])} and {splits[-1]}"
            if groups < len(rows):
                has, need = f"{len(rows)} images from {groups} groups", f"{len(splits)} groups"
                add = "images of other groups"
            else:
                has, need, add = f"{len(rows)} images", f"{len(splits)}", "images"
            raise InputError(
                f"class '{label}' has {has}, but {listed} need {need} at least (a group is never split). Add {add}, or "
                "leave the class out with data.classes."
            )


def _check_classes(table: pd.DataFrame, *, kept: bool) -> None:
    classes = set(table["label"].unique())
    for name in SPLITS:
        absent = sorted(classes - set(table["label"][table["split"] == name].unique()))
        if absent:
            way_out = "remove the given splits to have them made"
            if kept:
                way_out = f"draw the splits of earlier snapshots anew with data.keep_splits=false, or {way_out}"
            raise InputError(
                f"the {name} split has no image of class {', '.join(map(repr, absent))}. Add some, or {way_out}."
            )


def _limit(table: pd.DataFrame, limit: int, notes: list[str]) -> pd.DataFrame:
    # The rows are in a mixed order already: the first ones are a fair sample.
    kept = table.groupby(["split", "label"]).cumcount() < limit
    if not kept.all():
        notes.append(f"data.limit_per_class {limit}: {kept.sum():,} of {len(table):,} images are used")
    return table[kept].reset_index(drop=True)


def split_groups(table: pd.DataFrame, fractions: Mapping[str, float], seed: int) -> npt.NDArray[Any]:
    """Return a split for each row: whole groups, every class in each split, near the fractions.

    Groups of a remembered split have that one; the others make up for what is lacking beside them.

    Args:
        table: Columns label and group (N rows), and remembered where some groups are to stay ("" where one is not).
        fractions: Of the rows, for the name of each split; they add up to 1.
        seed: Decides which groups go where.

    Returns:
        Names (N,).

    Raises:
        InputError: No assignment has every class in each split.
    """
    import pandas as pd

    names = np.array(list(fractions), dtype=object)
    group_index, _ = pd.factorize(table["group"], sort=True)
    label_index, labels = pd.factorize(table["label"], sort=True)
    counts = np.zeros((group_index.max() + 1, len(labels)), np.int64)
    np.add.at(counts, (group_index, label_index), 1)

    targets = np.array(list(fractions.values()))[:, None] * counts.sum(axis=0)
    random = np.random.default_rng([seed, 7])
    order = random.permutation(len(counts))
    single = counts.sum(axis=1) == 1
    chosen = np.zeros(len(counts), np.int64)
    held = np.zeros(len(counts), bool)
    filled = np.zeros(targets.shape, np.int64)
    if REMEMBERED in table:
        before = table[REMEMBERED].map({name: number for number, name in enumerate(names)}).fillna(-1).astype(int)
        chosen[group_index] = np.maximum(before, 0)
        held[group_index] = before >= 0
        np.add.at(filled, chosen[held], counts[held])
    order = order[~held[order]]
    large = order[~single[order]]
    large = large[np.argsort(-counts[large].sum(axis=1), kind="stable")]
    _place_large(counts, large, targets, chosen, filled)
    for label in range(len(labels)):
        singles = order[single[order] & (counts[order, label] == 1)]
        chosen[singles] = np.repeat(np.arange(len(names)), _deal(len(singles), filled[:, label], targets[:, label]))
    if not _covers(counts, chosen, len(names)):
        chosen = _cover(counts, single, held, chosen, list(names), labels)
    return names[chosen[group_index]]


def _place_large(
    counts: Counts,
    large: npt.NDArray[np.int64],
    targets: npt.NDArray[np.float64],
    chosen: npt.NDArray[np.int64],
    filled: Counts,
) -> None:
    """Put each group where the squared distance of the class counts from the targets then grows least.

    What is chosen is written into ``chosen``, and added to ``filled``.
    """
    for group in large:
        row = counts[group]
        growth = (row * (2 * (filled - targets) + row) / targets).sum(axis=1)
        chosen[group] = int(np.argmin(growth))
        filled[chosen[group]] += row


def _deal(count: int, filled: Counts, targets: npt.NDArray[np.float64]) -> Counts:
    """Return how many of ``count`` single images each split gets: one where it has none, then by what is lacking."""
    share = np.zeros(len(targets), np.int64)
    for split in np.argsort(filled, kind="stable"):
        if filled[split] == 0 and share.sum() < count:
            share[split] = 1
    while (left := count - share.sum()) > 0:
        lacking = np.maximum(targets - filled - share, 0.0)
        if lacking.sum() == 0:
            lacking = targets
        step = np.floor(left * lacking / lacking.sum()).astype(np.int64)
        if step.sum() == 0:
            step[np.argmax(lacking)] = 1
        share += step
    return share


def _covers(counts: Counts, chosen: npt.NDArray[np.int64], splits: int) -> bool:
    return all((counts[chosen == split].sum(axis=0) > 0).all() for split in range(splits))


def _cover(
    counts: Counts,
    single: npt.NDArray[np.bool_],
    held: npt.NDArray[np.bool_],
    chosen: npt.NDArray[np.int64],
    names: Sequence[str],
    labels: Sequence[str] | pd.Index,
) -> npt.NDArray[np.int64]:
    """Change as little as can be so that every class is in every split: a small integer program, solved exactly.

    Groups that are held stay where they are.

    Raises:
        InputError: There is no such assignment.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array, eye_array, kron

    splits = len(names)
    free = ~single & ~held
    for label in range(len(labels)):
        # As many single images as there are splits can do all that singles can do.
        free[np.flatnonzero(single & ~held & (counts[:, label] == 1))[:splits]] = True
    if not free.any():
        return chosen  # what is lacking then is said by the check of all splits
    fixed = np.array([(counts[~free & (chosen == split)].sum(axis=0) > 0) for split in range(splits)])
    groups = int(free.sum())
    stay = np.zeros((groups, splits))
    stay[np.arange(groups), chosen[free]] = counts[free].sum(axis=1)
    one_split = kron(eye_array(groups), np.ones((1, splits)))
    has_class = kron(csr_array((counts[free] > 0).T.astype(float)), eye_array(splits))
    result = milp(
        -stay.ravel(),
        integrality=np.ones(groups * splits),
        bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(one_split, 1, 1),
            LinearConstraint(has_class, 1 - fixed.T.ravel().astype(float), np.inf),
        ],
    )
    if result.x is None:
        if held.any():
            return chosen
        few = min(range(len(labels)), key=lambda label: int((counts[:, label] > 0).sum()))
        raise InputError(
            f"no split keeps groups whole and has every class in {', '.join(names)}: class '{labels[few]}' is in "
            f"{int((counts[:, few] > 0).sum())} groups only. Add groups, or leave the class out with data.classes."
        )
    chosen = chosen.copy()
    chosen[free] = result.x.reshape(groups, splits).argmax(axis=1)
    return chosen
