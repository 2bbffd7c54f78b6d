"""The size that all images get: asked for, common, or the median of what is there."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.config import DataConfig
from assay.data.sizes import target_size

ANY = DataConfig()


def table(*sizes: tuple[int, int]) -> pd.DataFrame:
    return pd.DataFrame(sizes, columns=["height", "width"])


def test_a_size_that_was_asked_for_is_taken() -> None:
    size = target_size(table((10, 20)), DataConfig(image_size=(64, 32)))
    assert (size.height, size.width, size.rule, size.reason) == (64, 32, "asked", "")


def test_the_commonest_size_is_taken_where_a_fifth_of_the_images_have_it() -> None:
    others = [(100 + number, 200) for number in range(8)]
    assert target_size(table((30, 40), (30, 40), *others), ANY).rule == "commonest"
    size = target_size(table((30, 40), (30, 40), (90, 90), *others), ANY)
    assert (size.height, size.width, size.rule) == (102, 200, "median")


def test_of_equally_common_sizes_the_largest_is_taken() -> None:
    size = target_size(table((30, 40), (40, 30), (30, 50), (40, 30), (30, 50)), ANY)
    assert (size.height, size.width) == (40, 30)


def test_one_huge_image_among_many_sizes_changes_little() -> None:
    sizes = [(60 + number, 100 + 2 * number) for number in range(20)]
    before, after = (target_size(table(*more), ANY) for more in (sizes, [*sizes, (1500, 2000)]))
    assert (before.rule, after.rule) == ("median", "median")
    assert abs(before.height - after.height) <= 1
    assert "no size is common" in after.reason


def test_a_median_of_large_images_is_made_smaller_with_its_aspect_ratio() -> None:
    size = target_size(table(*((2000 + number, 4000 + number) for number in range(9))), ANY)
    assert (size.height, size.width) == (256, 512)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(8, 5000), st.integers(8, 5000)), min_size=1, max_size=30), st.randoms())
def test_the_order_of_the_images_changes_nothing(sizes: list[tuple[int, int]], random: object) -> None:
    shuffled = list(sizes)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    size = target_size(table(*sizes), ANY)
    assert size == target_size(table(*shuffled), ANY)
    if size.rule == "median":
        assert 8 <= min(size.height, size.width) <= max(size.height, size.width) <= 512
    else:
        assert (size.height, size.width) in sizes


@pytest.mark.parametrize(("side", "gigabytes"), [(96, 0.04), (1500, 9.2)])
def test_the_memory_of_a_batch_is_known_before(side: int, gigabytes: float) -> None:
    assert target_size(table((side, side)), ANY).batch_bytes / 1e9 == pytest.approx(gigabytes, rel=0.1)
