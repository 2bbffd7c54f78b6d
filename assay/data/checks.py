"""What is wrong with a surveyed source: what forbids to train on it, and what its user should look at first."""

from __future__ import annotations

import re
from collections import Counter
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from assay.data.classes import positive_index
from assay.data.headers import extension_format
from assay.data.masks import Masks, find_masks
from assay.data.sizes import target_size
from assay.data.sources.group_hints import shared_ids
from assay.data.splitting import assign_splits
from assay.data.survey import Survey
from assay.errors import InputError

_IMBALANCE = 5
_FEW_TO_JUDGE = 30
_LARGE_GROUP = 0.3
_MANY_ALIKE = 0.05
_BLANK_CONTRAST = 1.0
_SHORTCUT_GAIN = 0.1
_SHORTCUT_AUC = 0.95
_FEW_LEVELS = 32
_MUCH_MEMORY = 4 * 2**30
_ASPECT_CHANGE = 1.25
MASK_SHARE = 0.02


def refusals(survey: Survey) -> list[str]:
    """Return why the source cannot be trained on, worst first, one line each; empty where it can.

    Args:
        survey: What was found in the source.
    """
    uri, table, config = survey.source.uri, survey.table, survey.config
    found = list(survey.listing.refusals)
    bad = len(survey.set_aside)
    reasons = summarise_reasons(survey)
    look = f"`assay data inspect {uri}` lists them"
    if table.empty:
        return [*found, f"{uri}: none of {survey.total:,} files can be used ({reasons}). Mend them: {look}."]
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
    if config.kind == "image":
        masks = find_masks(table["id"].tolist(), table["shades"].tolist())
        if masks.chosen.mean() > MASK_SHARE:
            found.append(
                f"{uri}: {_masks(table, masks)}, more than {MASK_SHARE:.0%} of all. A classifier would learn from "
                f"them: leave them out with data.exclude=\"['{masks.pattern}']\", or move them away."
            )
    # What the steps after this one would say, found out by asking them.
    asked: list[partial[Any]] = [partial(positive_index, config, survey.classes)]
    if not lost and len(present) > 1:
        asked.append(partial(assign_splits, table, config, 0))
    for question in asked:
        try:
            question()
        except InputError as error:
            found.append(f"{uri}: {error}")
    return found


def summarise_reasons(survey: Survey, limit: int = 3) -> str:
    """Return why files were set aside, the commonest first: ``25 not an image, 15 truncated``."""
    kinds = Counter(kind_of_reason(aside.reason) for aside in survey.set_aside).most_common()
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
    found = [*survey.listing.warnings, *_balance(survey), *_unnamed_groups(table), *_leaks(table), *_shortcuts(table)]
    if survey.config.kind == "image":
        blank = table["contrast"] < _BLANK_CONTRAST
        found += _images(table, blank & (table["brightness"] < 16), "all black")
        found += _images(table, blank & (table["brightness"] > 239), "all white")
        found += _images(table, blank & table["brightness"].between(16, 239), "of one shade only")
        found += _dim(survey)
        found += _stretched(survey)
        found += _memory(survey)
        masks = find_masks(table["id"].tolist(), table["shades"].tolist())
        if 0 < masks.chosen.mean() <= MASK_SHARE:
            found.append(f"{_masks(table, masks)}; data.exclude leaves them out")
    return found


def _masks(table: pd.DataFrame, masks: Masks) -> str:
    return (
        f"{int(masks.chosen.sum()):,} of {len(table):,} images look like segmentation masks of others (first: "
        f"{table['id'][masks.chosen].iloc[0]})"
    )


def _unnamed_groups(table: pd.DataFrame) -> list[str]:
    """Find ids that the names of files share, where nobody has said what belongs together."""
    if (table["given_group"] != "").any():
        return []
    shared = shared_ids(table["id"].tolist(), table["label"].tolist())
    if shared is None:
        return []
    return [
        f"no groups are given, and the names of {shared.files:,} files share {shared.ids:,} ids (such as "
        f"'{shared.first}'): images of one patient can end up in train and in test. Add labels.csv with the columns "
        "path,label,group"
    ]


def remarks(survey: Survey) -> list[str]:
    """Return what was unusual about usable files and how it is dealt with, one line each.

    Args:
        survey: What was found in the source.
    """
    table, config = survey.table, survey.config
    if table.empty:
        return []
    if config.kind == "sensor":
        missing = int((table["missing"] > 0).sum())
        policy = "the training mean" if config.missing == "mean" else "interpolation in time"
        return [f"{missing:,} windows have missing values, to be filled by {policy}"] if missing else []
    promised = table["id"].map(extension_format)
    found = [
        *_images(
            table, promised.notna() & (promised != table["format"]), "named for another format; used as what it is"
        ),
        *_images(table, table["frames"] > 1, "with several frames or pages: only the first is used"),
        *_images(table, table["mode"].str.contains("A") & (table["mode"] != "LAB"), "with transparency: laid on white"),
        *_images(table, table["oriented"], "turned or mirrored as the EXIF orientation asks"),
        *_images(table, table["dropped"] > 0, _dropped(table)),
        *_window(survey),
    ]
    grey = table["mode"].str.startswith(("L", "1", "I")) & (table["mode"] != "LAB")
    if config.color_mode == "rgb" and grey.all():
        found.append("all images are grey: data.color_mode grayscale makes smaller, faster networks")
    elif config.color_mode == "rgb":
        found += _images(table, grey, "grey among colour ones")
    sizes = table.groupby(["height", "width"]).size()
    if len(sizes) > 1:
        size = target_size(table, config)
        found.append(
            f"{len(sizes):,} sizes, {table['width'].min()} x {table['height'].min()} to {table['width'].max()} x "
            f"{table['height'].max()} (width x height); all become {size.width} x {size.height}{size.reason}"
        )
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
            f"{_counted(disagreeing, 'set')} of near duplicates with different labels: one of them may be wrong "
            "(quality.html shows them)"
        )
    alike = (table["duplicates"] >= 0) & (table["exact"] < 0)
    if alike.sum() > _MANY_ALIKE * len(table):
        found.append(
            f"{alike.sum():,} of {len(table):,} images look like copies of others, and stay in one split with them: "
            "look at them in quality.html. If they are different pictures, set data.near_duplicates: false"
        )
    named = table[(table["duplicates"] >= 0) & (table["given_group"] != "")].groupby("duplicates")["group"].nunique()
    if (named > 1).any():
        found.append(
            f"{_counted(int((named > 1).sum()), 'set')} of images that look like copies of each other are of different "
            "groups, which are not joined for that (quality.html shows them): if they are one patient or slide, give "
            "them one group"
        )
    spanning = int((sets["split"].nunique() > 1).sum())
    if spanning:
        found.append(f"{_counted(spanning, 'set')} of duplicates in several of the splits that the source gives")
    named = table[table["given_group"] != ""].groupby("given_group")["split"].nunique()
    torn = named.index[named > 1]
    if len(torn):
        found.append(
            f"{_counted(len(torn), 'group')} (slide, patient) in several of the splits that the source gives "
            f"(first: {torn[0]})"
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


def _dim(survey: Survey) -> list[str]:
    """Find images of many bits whose values lie so close together that a network sees few levels of grey."""
    table, config = survey.table, survey.config
    dim = table["deep"] & (table["levels"] < _FEW_LEVELS)
    if not dim.any():
        return []
    low, high = float(table["low"][dim].min()), float(table["high"][dim].max())
    used = f"(most values lie in {low:,.5g} to {high:,.5g})"
    if config.window is not None:
        what = f"of more than 8 bits, using less than an eighth of data.window {used}: narrow it"
        return _images(table, dim, what)
    # As instruments count: 10, 12 or 14 bits, of which the brightest values are seldom in use.
    bits = max(1, int(np.ceil(np.log2(high + 1))))
    window = f"[0,{2**bits - 1}]" if high < 0.5 * float(table["white"][dim].max()) else f"[{low:.5g},{high:.5g}]"
    what = (
        f"of 16 bits, using less than an eighth of the range {used}: it will look all one shade; "
        f"set data.window={window}, or data.window=percentile"
    )
    return _images(table, dim, what)


def _window(survey: Survey) -> list[str]:
    """Say which files the window is for, where there are others."""
    table, config = survey.table, survey.config
    if config.window is None or table["deep"].all():
        return []
    if not table["deep"].any():
        return ["data.window is set, but no file has more than 8 bits a channel: it changes nothing"]
    return _images(table, ~table["deep"], "of 8 bits, to which data.window does not apply")


def _dropped(table: pd.DataFrame) -> str:
    most = int(table["bands"].max())
    return f"with bands beyond colour and transparency, dropped (up to {most} bands; data.bands chooses others)"


def _stretched(survey: Survey) -> list[str]:
    table = survey.table
    size = target_size(table, survey.config)
    change = (table["width"] / table["height"]) / (size.width / size.height)
    stretched = (change > _ASPECT_CHANGE) | (change < 1 / _ASPECT_CHANGE)
    what = f"stretched by more than {_ASPECT_CHANGE - 1:.0%} to become {size.width} x {size.height}"
    return _images(table, stretched, what)


def _memory(survey: Survey) -> list[str]:
    """Say what images of this size will take, before it is met."""
    size = target_size(survey.table, survey.config)
    if size.batch_bytes <= _MUCH_MEMORY:
        return []
    dataset = len(survey.table) * size.height * size.width * (3 if survey.config.color_mode == "rgb" else 1)
    return [
        f"large images, {size.width} x {size.height}: the dataset takes {dataset / 1e9:,.1f} GB on disk, and the first "
        f"layer of a small network about {size.batch_bytes / 1e9:,.0f} GB of memory for a batch of 32. Set "
        "data.image_size=[height,width] to something smaller, or a small batch_size"
    ]


def _images(table: pd.DataFrame, chosen: pd.Series, text: str) -> list[str]:
    """Return one line that counts the chosen images and names the first, or none."""
    count = int(chosen.sum())
    return [f"{_counted(count, 'image')} {text} (first: {table['id'][chosen].iloc[0]})"] if count else []


def _counted(count: int, thing: str) -> str:
    return f"{count:,} {thing}{'' if count == 1 else 's'}"
