"""Exact and near duplicates: found whatever the number of images, and never between different pictures."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from assay.data import duplicates
from assay.data.duplicates import exact_pairs, extend_groups, joinable, near_pairs, similar_hashes
from bench.statistics.lookalikes import cell, fundus, scan, search


def detail(image: Image.Image) -> np.ndarray:
    return duplicates.detail(np.asarray(image.convert("L")))


def saved(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


@pytest.fixture(scope="module")
def patches(pcam: Path) -> list[Image.Image]:
    files = sorted((pcam / "valid" / "0").iterdir())[:60] + sorted((pcam / "valid" / "1").iterdir())[:60]
    return [Image.open(file).convert("RGB") for file in files]


@pytest.mark.parametrize(
    "change",
    [
        lambda image: saved(image, 75),
        lambda image: saved(image, 50),
        lambda image: image.resize((48, 48), Image.Resampling.BOX),
        lambda image: saved(image.resize((144, 144)), 80),
        lambda image: image.point(lambda value: min(255, value + 3)),
        lambda image: image.transpose(Image.Transpose.ROTATE_90),
        lambda image: saved(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), 75),
        lambda image: image.crop((2, 1, 96, 95)),
    ],
    ids=["quality 75", "quality 50", "half", "larger", "brighter", "turned", "mirrored", "cropped"],
)
def test_a_patch_saved_again_is_found_and_no_other(patches: list[Image.Image], change) -> None:
    count = len(patches)
    found = near_pairs(np.stack([detail(image) for image in [*patches, *map(change, patches)]]), 4)
    copies = {(min(pair), max(pair)) for pair in found.tolist()}
    true = {(row, row + count) for row in range(count)}
    assert copies <= true
    assert len(copies) >= 0.97 * count


# Of scans that share anatomy to the pixel, crops and strong compression are passed over rather than joined by mistake.
@pytest.mark.parametrize(("draw", "least"), [(scan, 0.8), (cell, 0.95), (fundus, 0.95)], ids=["scan", "cell", "fundus"])
def test_pictures_that_all_look_alike_are_told_from_copies(draw, least: float) -> None:
    random = np.random.default_rng(3)
    found = search(draw.__name__, [draw(random) for _ in range(200)])
    assert found.false <= 0.01
    assert found.false_among_copies <= 0.01
    assert np.mean(list(found.found.values())) >= least


def test_two_pictures_and_their_copies_are_told_apart(patches: list[Image.Image]) -> None:
    pictures = [patches[0], patches[1], saved(patches[1], 75), saved(patches[0], 75)]
    pairs = near_pairs(np.stack([detail(image) for image in pictures]), 4)
    assert {tuple(sorted(pair)) for pair in pairs.tolist()} == {(0, 3), (1, 2)}
    assert len(near_pairs(np.stack([detail(image) for image in pictures[:2]]), 4)) == 0
    assert len(near_pairs(np.stack([detail(pictures[0])]), 4)) == 0


def test_blank_patches_are_not_near_duplicates() -> None:
    noise = np.random.default_rng(0).integers(0, 2, (50, 64, 64)).astype(np.uint8)
    assert len(near_pairs(noise + 250, 8)) == 0


def test_near_matches_never_join_groups_that_the_source_tells_apart() -> None:
    pairs = np.array([[0, 1], [1, 2], [3, 4]])
    given_groups = ["p2", "", "p1", "p3", "p3"]
    joined = {tuple(sorted(pair)) for pair in joinable(pairs, given_groups).tolist()}
    assert joined == {(1, 2), (3, 4)}
    groups, _ = extend_groups(list("abcde"), given_groups, joinable(pairs, given_groups))
    assert groups == ["p2", "p1", "p1", "p3", "p3"]
    assert joinable(np.zeros((0, 2), np.int64), given_groups).shape == (0, 2)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 2**64 - 1), min_size=0, max_size=12),
    st.lists(st.tuples(st.integers(0, 11), st.lists(st.integers(0, 63), max_size=9)), max_size=12),
    st.integers(0, 8),
)
def test_similar_hashes_are_exactly_those_within_the_bits(
    seeds: list[int], flips: list[tuple[int, list[int]]], bits: int
) -> None:
    values = list(seeds)
    for index, places in flips:
        if index < len(seeds):
            value = seeds[index]
            for place in places:
                value ^= 1 << place
            values.append(value)
    hashes = np.array(values, np.uint64)
    expected = {
        (one, two)
        for one, two in itertools.permutations(range(len(values)), 2)
        if (values[one] ^ values[two]).bit_count() <= bits
    }
    found = [tuple(pair) for pair in similar_hashes(hashes, hashes, bits).tolist()]
    assert set(found) == expected
    assert len(found) == len(expected)


def test_near_duplicates_of_many_pictures_are_found() -> None:
    random = np.random.default_rng(0)
    count = 3000
    coarse = random.integers(0, 256, (count, 9, 9), np.uint8)
    pictures = np.stack([cv2.resize(one, (64, 64), interpolation=cv2.INTER_CUBIC) for one in coarse])
    pictures[-50:] = np.clip(pictures[:50, :, ::-1] + random.normal(0, 2, (50, 64, 64)), 0, 255)
    pairs = {tuple(sorted(pair)) for pair in near_pairs(pictures, 4).tolist()}
    true = {(row, count - 50 + row) for row in range(50)}
    assert pairs <= true
    assert len(pairs) >= 48


@given(st.lists(st.sampled_from("abcd"), max_size=12))
def test_exact_pairs_join_equal_digests(digests: list[str]) -> None:
    pairs = exact_pairs(digests)
    assert len(pairs) == len(digests) - len(set(digests))
    assert all(digests[one] == digests[two] for one, two in pairs)


@given(
    st.lists(st.sampled_from(["", "s1", "s2", "s3"]), min_size=1, max_size=10),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=8),
    st.randoms(use_true_random=False),
)
def test_groups_are_joined_by_duplicates_whatever_the_order(given_groups, links, random) -> None:
    count = len(given_groups)
    ids = [f"image {number}" for number in range(count)]
    links = [(one, two) for one, two in links if one < count and two < count]
    groups, sets = extend_groups(ids, given_groups, np.array(links, np.int64).reshape(-1, 2))
    assert all(groups)
    for one, two in links:
        assert groups[one] == groups[two]
        assert one == two or sets[one] == sets[two] >= 0
    for one, two in itertools.combinations(range(count), 2):
        if given_groups[one] and given_groups[one] == given_groups[two]:
            assert groups[one] == groups[two]
        if not links and not given_groups[one]:
            assert groups[one] != groups[two]
    order = list(range(count))
    random.shuffle(order)
    place = {old: new for new, old in enumerate(order)}
    moved = np.array([(place[one], place[two]) for one, two in links], np.int64).reshape(-1, 2)
    again, _ = extend_groups([ids[old] for old in order], [given_groups[old] for old in order], moved)
    assert [again[place[old]] for old in range(count)] == groups


def test_a_joined_group_takes_the_smallest_given_name() -> None:
    groups, sets = extend_groups(["x", "y", "z", "w"], ["s2", "s1", "", ""], np.array([[0, 1], [2, 0]]))
    assert groups == ["s1", "s1", "s1", "image:w"]
    assert sets.tolist() == [0, 0, 0, -1]
