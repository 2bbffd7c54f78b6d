"""The report is one whole page that needs nothing else, and the card says the same in Markdown."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from assay.evaluation.card import render_card, render_leaderboard
from assay.evaluation.report import render_report

VOID = {"meta", "img", "br", "input", "link", "hr"}


class _Checker(HTMLParser):
    """Collects what a page refers to, and whether its elements close."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.references: list[str] = []
        self.images_without_words = 0

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        values = dict(attrs)
        self.references += [values[name] for name in ("src", "href") if values.get(name)]
        self.images_without_words += tag == "img" and not values.get("alt")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"


@pytest.fixture(scope="module")
def page(evaluated):
    return (evaluated[1] / "report.html").read_text(encoding="utf-8")


def _check(page: str) -> _Checker:
    checker = _Checker()
    checker.feed(page)
    assert checker.open == []
    return checker


def test_the_page_is_well_formed_and_needs_nothing_else(page):
    checker = _check(page)
    assert checker.references and all(one.startswith("data:image/") for one in checker.references)
    assert not {"script", "link", "iframe"} & set(checker.tags)
    assert checker.images_without_words == 0
    assert "http://" not in page and "https://" not in page
    assert not re.search(r"@import|url\(", page)
    assert len(page) < 2_000_000


def test_the_page_holds_every_part(page):
    for part in (
        "candidates", "separation", "decisions", "calibration", "evidence", "mistakes", "learning", "groups", "data",
        "training", "limitations",
    ):  # fmt: skip
        assert f'<section id="{part}">' in page, part
    for words in ("prefers-color-scheme: dark", "@media print", "Missed:", "False alarms:", "Found:", "Left alone:"):
        assert words in page


def test_the_numbers_of_page_and_files_agree(page, evaluated):
    result, _ = evaluated
    assert f'<div class="value">{result.metrics["test_auc"]:.3f}</div>' in page
    assert f"{result.metrics['test_auc_low']:.3f}–{result.metrics['test_auc_high']:.3f}" in page


def test_names_from_outside_stay_text(evaluation, candidates):
    hostile = '<img src=x onerror="alert(1)">'
    dataset = replace(
        evaluation.dataset,
        classes=(hostile, "b"),
        counts={split: {hostile: 1, "b": 1} for split in ("train", "valid", "test")},
        description={**evaluation.dataset.description, "snapshot": {"source": hostile}, "notes": [hostile]},
    )
    groups = np.array([hostile] * len(evaluation.ids))
    changed = replace(evaluation, dataset=dataset, ids=[hostile] * len(evaluation.ids), groups=groups)
    page = render_report(changed, [candidates["search"]])
    checker = _check(page)
    assert "x" not in checker.references
    assert "onerror" in page, "the name is shown"
    card = render_card(changed)
    assert "<img" not in card


def test_what_was_set_aside_is_told_where_it_is_known(evaluation, candidates):
    report = {
        "used": 990,
        "set_aside": 10,
        "reasons": {"truncated": 7, "empty": 3},
        "duplicates": {"images": 8, "sets": 4},
    }
    description = {**evaluation.dataset.description, "snapshot": {"source": "folder", "report": report}}
    changed = replace(evaluation, dataset=replace(evaluation.dataset, description=description))
    changed = replace(changed, config=changed.config.model_copy(update={"gradcam_images": 0}))
    page = render_report(changed, [candidates["search"]])
    assert "Set aside as unusable: 10 of 1,000 (7 truncated, 3 empty)." in page
    assert "8 images in 4 sets" in page
    assert '<section id="evidence">' not in page, "no Grad-CAM was asked for"


def test_a_model_without_history_or_mistakes_is_reported_all_the_same(evaluation, candidates):
    best = evaluation.best
    flawless = replace(best.test, predicted=best.test.labels)
    changed = replace(
        evaluation, candidates=[replace(best, history=None, training={}, test=flawless)], comparisons=[], group_rows=()
    )
    page = render_report(changed, [candidates["search"]])
    _check(page)
    assert '<section id="mistakes">' not in page and '<section id="groups">' not in page
    assert "Missed: 0" in page


def test_the_leaderboard_is_a_markdown_table_with_the_best_marked(evaluation):
    lines = render_leaderboard(evaluation).splitlines()
    columns = lines[0].count("|")
    assert all(line.count("|") == columns for line in lines[:4])
    assert lines[2].startswith("| **search** (cnn) ★ |") and lines[3].startswith("| **baseline**")
    assert re.search(r"\d\.\d{3} \(\d\.\d{3}–\d\.\d{3}\)", lines[2])
    assert f"Positive, what sensitivity is of: {evaluation.positive_class}." in lines[-1]


def test_the_card_has_its_parts_and_whole_tables(evaluation):
    card = render_card(evaluation)
    for heading in ("# Model card", "## Intended use", "## Data", "## Test results", "## Limitations", "## Provenance"):
        assert heading in card
    assert evaluation.dataset.fingerprint in card and "no medical device" in card
    blocks = re.findall(r"(?:^\|.*\n)+", card, flags=re.M)
    assert len(blocks) >= 5
    for block in blocks:
        assert len({re.sub(r"\\\|", "", line).count("|") for line in block.splitlines()}) == 1, block


def test_pipes_and_stars_in_names_do_not_break_a_table(evaluation):
    best = replace(evaluation.best, name="a|b*c_d")
    text = render_leaderboard(replace(evaluation, candidates=[best], comparisons=[]))
    assert r"a\|b\*c\_d" in text
