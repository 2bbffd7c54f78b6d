"""What is wrong with a surveyed source: what forbids to train on it, and what its user should look at first."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import numpy.typing as npt
import pandas as pd

from assay.data.headers import extension_format
from assay.data.sources.splits import SPLITS
from assay.data.survey import Survey

_IMBALANCE = 5
_FEW_TO_JUDGE = 30
_LARGE_GROUP = 0.3
_BLANK_CONTRAST = 1.0
_SHORTCUT_GAIN = 0.1
_SHORTCUT_AUC = 0.95
_DIM_PEAK = 31
_ASPECT_CHANGE = 1.25


def refusals(survey: Survey) -> list[str]:
    """Return why the source cannot be trained on, worst first, one line each; empty where it can.

    Args:
        survey: What was found in the source.
    """
    uri, table, config = survey.source.uri, survey.table, survey.config
    bad = len(survey.set_aside)
    reasons = summarise_reasons(survey)
    look = f"`assay data inspect {uri}` lists them"
    if table.empty:
        return [f"{uri}: none of {survey.total:,} files can be used ({reasons}). Mend them: {look}."]
    found = []
    if bad > config.max_bad_fraction * survey.total:
        found.append(
            f"{uri}: {bad:,} of {survey.total:,} files cannot be used ({reasons}; first: {survey.set_aside[0].uri}), "
            f"more than data.max_bad_fraction = {config.max_bad_fraction:g} allows. "
            f"Mend or remove them ({look}), or raise the limit."
        )
    counts = table["label"].value_counts()
    present = [name for name in survey.classes if name in counts]
    lost = [name for name in survey.classes if name not in counts]
    if lost:
        found.append(f"{uri}: class '{lost[0]}' has no usable example ({reasons}). Mend its files: {look}.")
    if len(present) < 2:
        found.append(f"{uri}: one class only ('{present[0]}'). A classifier needs two: add examples of another class.")
    given = set(table["split"]) - {""}
    for name in present:
        own = table[table["label"] == name]
        groups = own["group"].nunique()
        if len(own) < len(SPLITS) or (not given and groups < len(SPLITS)):
            of_groups = f" in {groups} groups or sets of duplicates" if groups < len(own) else ""
            found.append(
                f"{uri}: class '{name}' has {len(own)} usable examples{of_groups}; train, valid and test need "
                f"{len(SPLITS)} at least (no group is split). Add examples, or leave it out with data.classes."
            )
    return found


def summarise_reasons(survey: Survey, limit: int = 3) -> str:
    """Return why files were set aside, the commonest first: ``25 not an image, 15 truncated``."""
    kinds = Counter(kind_of_reason(one.reason) for one in survey.set_aside).most_common()
    shown = ", ".join(f"{count:,} {kind}" for kind, count in kinds[:limit])
    return shown + (f", {sum(count for _, count in kinds[limit:]):,} other" if len(kinds) > limit else "")


def kind_of_reason(reason: str) -> str:
    """Return a reason without its particulars: ``too large: 20,000 x ...`` becomes ``too large``."""
    return re.split(r"[(:;,]|\d", reason, maxsplit=1)[0].strip() or reason


def warnings(survey: Survey) -> list[str]:
    """Return what the user should look at before trusting a model trained on this, one line each.

    Args:
        survey: What was found in the source.
    """
    table = survey.table
    if table.empty:
        return []
    found = [*_balance(survey), *_leaks(table), *_shortcuts(table)]
    if survey.config.kind == "image":
        found += _pixels(survey)
    else:
        missing = int((table["missing"] > 0).sum())
        if missing:
            found.append(f"{missing:,} windows have missing values; data.missing is {survey.config.missing}")
    return found


def _balance(survey: Survey) -> list[str]:
    table = survey.table
    counts = table["label"].value_counts()
    found = []
    if counts.iloc[0] > _IMBALANCE * counts.iloc[-1]:
        found.append(
            f"unbalanced: {counts.iloc[0]:,} of '{counts.index[0]}', {counts.iloc[-1]:,} of '{counts.index[-1]}'; "
            "judge by precision and recall, not accuracy"
        )
    for split in ("valid", "test"):
        own = table[table["split"] == split]["label"].value_counts()
        if len(own) and own.iloc[-1] < _FEW_TO_JUDGE:
            found.append(f"{split} has only {own.iloc[-1]} of '{own.index[-1]}': intervals will be wide")
    return found


def _leaks(table: pd.DataFrame) -> list[str]:
    found = []
    sets = table[table["duplicates"] >= 0].groupby("duplicates")
    disagreeing = int((sets["label"].nunique() > 1).sum())
    if disagreeing:
        found.append(
            f"{disagreeing:,} sets of near duplicates carry different labels: one of each may be wrong (pictures below)"
        )
    spanning = int((sets["split"].nunique() > 1).sum())
    if spanning:
        found.append(f"{spanning:,} sets of duplicates span the splits that the source gives")
    named = table[table["given_group"] != ""].groupby("given_group")["split"].nunique()
    if (named > 1).any():
        found.append(
            f"{int((named > 1).sum()):,} groups (slides, patients) span the splits that the source gives "
            f"(first: {named.index[int(np.argmax(named.to_numpy() > 1))]})"
        )
    sizes = table["group"].value_counts()
    if len(table) > 10 and sizes.iloc[0] > _LARGE_GROUP * len(table):
        found.append(f"group '{sizes.index[0]}' holds {sizes.iloc[0] / len(table):.0%} of all examples")
    return found


def _shortcuts(table: pd.DataFrame) -> list[str]:
    """Find properties of the files, other than what they show, that tell the classes apart."""
    found = []
    majority = table["label"].value_counts().iloc[0] / len(table)
    properties = {
        "file format": table["format"],
        "size": table["width"].astype(str) + " x " + table["height"].astype(str),
        "colour mode": table["mode"],
    }
    for name, values in properties.items():
        if not 1 < values.nunique() <= 50:
            continue
        rate = table.groupby(values)["label"].agg(lambda labels: labels.value_counts().iloc[0]).sum() / len(table)
        if rate > majority + _SHORTCUT_GAIN:
            found.append(
                f"shortcut: the {name} alone tells the class in {rate:.0%} of cases (the commonest class: "
                f"{majority:.0%}); a network can learn that instead of the content"
            )
    labels = sorted(set(table["label"]))
    if len(labels) == 2 and len(table) >= 20:
        auc = _auc(table["brightness"].to_numpy(), (table["label"] == labels[1]).to_numpy())
        if max(auc, 1 - auc) > _SHORTCUT_AUC:
            found.append(
                f"shortcut: mean brightness alone separates the classes with an AUC of {max(auc, 1 - auc):.3f}"
            )
    return found


def _auc(scores: npt.NDArray[np.float64], positive: npt.NDArray[np.bool_]) -> float:
    from scipy.stats import rankdata

    count = int(positive.sum())
    ranks = rankdata(scores)[positive].sum()
    return float((ranks - count * (count + 1) / 2) / (count * (len(scores) - count)))


def _pixels(survey: Survey) -> list[str]:
    table, config = survey.table, survey.config
    found = []

    def say(rows: npt.NDArray[np.bool_] | pd.Series, text: str) -> None:
        count = int(rows.sum())
        if count:
            first = table["id"][rows].iloc[0]
            found.append(f"{count:,} image{'s' if count > 1 else ''} {text} (first: {first})")

    blank = table["contrast"] < _BLANK_CONTRAST
    say(blank & (table["brightness"] < 16), "all black")
    say(blank & (table["brightness"] > 239), "all white")
    say(blank & table["brightness"].between(16, 239), "of one shade only")
    say(table["peak"] <= _DIM_PEAK, "of 16 bits use less than an eighth of the range and will look black: rescale them")
    promised = table["id"].map(extension_format)
    say(promised.notna() & (promised != table["format"]), "named for another format than they have; used all the same")
    say(table["frames"] > 1, "with several frames or pages: only the first is used")
    say(table["mode"].str.contains("A") & (table["mode"] != "LAB"), "with transparency: laid on white")
    say(table["oriented"], "turned or mirrored as their EXIF orientation asks")
    grey = table["mode"].str.startswith(("L", "1", "I"))
    if config.color_mode == "rgb":
        if grey.all():
            found.append("all images are grey: data.color_mode grayscale makes smaller, faster networks")
        elif grey.any():
            say(grey, "grey among colour ones")
    sizes = table.groupby(["height", "width"]).size().sort_values(ascending=False)
    if len(sizes) > 1:
        height, width = config.image_size or sizes.index[0]
        change = (table["width"] / table["height"]) / (width / height)
        stretched = np.maximum(change, 1 / change) > _ASPECT_CHANGE
        found.append(
            f"{len(sizes):,} sizes, {table['width'].min()} x {table['height'].min()} to {table['width'].max()} x "
            f"{table['height'].max()} (width x height); all become {width} x {height}"
        )
        say(stretched, f"stretched by more than {_ASPECT_CHANGE - 1:.0%} on the way")
    return found
