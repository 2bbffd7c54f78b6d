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

from assay.data.duplicates import (
    Signatures,
    _similar_hashes,
    exact_pairs,
    extend_groups,
    near_pairs,
    signatures,
)


def thumbnail(image: Image.Image) -> np.ndarray:
    return cv2.resize(np.asarray(image.convert("L")), (32, 32), interpolation=cv2.INTER_AREA)


def saved(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


@pytest.fixture(scope="module")
def patches(pcam: Path) -> list[Image.Image]:
    files = sorted((pcam / "valid" / "0").iterdir())[:150] + sorted((pcam / "valid" / "1").iterdir())[:150]
    return [Image.open(file).convert("RGB") for file in files]


@pytest.mark.parametrize(
    "change",
    [
        lambda image: saved(image, 75),
        lambda image: saved(image, 50),
        lambda image: image.resize((48, 48), Image.Resampling.BOX),
        lambda image: saved(image.resize((144, 144)), 80),
        lambda image: image.point(lambda value: min(255, value + 3)),
    ],
    ids=["quality 75", "quality 50", "half", "larger", "brighter"],
)
def test_a_patch_saved_again_is_found_and_no_other(patches: list[Image.Image], change) -> None:
    count = len(patches)
    found = near_pairs(signatures(np.stack([thumbnail(image) for image in [*patches, *map(change, patches)]])), 4)
    copies = {(min(pair), max(pair)) for pair in found.tolist()}
    true = {(row, row + count) for row in range(count)}
    assert copies <= true
    assert len(copies) >= 0.97 * count


def test_blank_patches_are_not_near_duplicates() -> None:
    noise = np.random.default_rng(0).integers(0, 2, (50, 32, 32), np.uint8)
    assert len(near_pairs(signatures(noise + 250), 8)) == 0


def test_equal_hashes_of_different_pictures_are_kept_apart() -> None:
    random = np.random.default_rng(0)
    sketches = random.integers(0, 256, (40, 16, 16), np.uint8)
    sketches[20:] = sketches[:20]
    pairs = near_pairs(Signatures(np.full(40, 7, np.uint64), sketches), 0)
    assert {tuple(sorted(pair)) for pair in pairs.tolist()} == {(row, row + 20) for row in range(20)}


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
        for one, two in itertools.combinations(range(len(values)), 2)
        if (values[one] ^ values[two]).bit_count() <= bits
    }
    assert {tuple(pair) for pair in _similar_hashes(hashes, bits).tolist()} == expected


def test_near_duplicates_of_many_images_are_found() -> None:
    random = np.random.default_rng(0)
    count = 60_000
    hashes = random.integers(0, 2**63, count, dtype=np.uint64)
    sketches = random.integers(0, 256, (count, 16, 16), np.uint8)
    hashes[:500] = hashes[-500:] ^ np.uint64(0b1010)
    sketches[:500] = sketches[-500:]
    pairs = near_pairs(Signatures(hashes, sketches), 4)
    assert {tuple(sorted(pair)) for pair in pairs.tolist()} == {(row, count - 500 + row) for row in range(500)}


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
