"""The statistics that are counted while shards are written."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from assay.data.shards import ChannelStatistics

IMAGES = st.sampled_from([1, 3]).flatmap(
    lambda channels: arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=40).map(lambda s: (*s, channels)))
)


def exact_sums(image: npt.NDArray[np.uint8]) -> list[list[int]]:
    columns = image.reshape(-1, image.shape[-1]).astype(np.int64).T
    return [[len(values), int(values.sum()), int((values**2).sum())] for values in columns]


@given(IMAGES)
def test_sums_of_pixels_are_exact(image: npt.NDArray[np.uint8]) -> None:
    statistics = ChannelStatistics(image.shape[-1])
    statistics.add(image)
    assert statistics.sums == exact_sums(image)


@pytest.mark.parametrize("lowest", [0, 254, 255])
def test_sums_of_a_large_image_are_exact(lowest: int) -> None:
    image = np.random.default_rng(0).integers(lowest, 256, (3001, 2999, 3)).astype(np.uint8)
    statistics = ChannelStatistics(3)
    statistics.add(image)
    assert statistics.sums == exact_sums(image)


def test_a_block_of_images_counts_as_its_images() -> None:
    images = np.random.default_rng(1).integers(0, 256, (7, 5, 6, 3)).astype(np.uint8)
    together, one_by_one = ChannelStatistics(3), ChannelStatistics(3)
    together.add(images)
    for image in images:
        one_by_one.add(image)
    assert together.sums == one_by_one.sums


@given(st.lists(IMAGES.filter(lambda image: image.shape[-1] == 3), min_size=1, max_size=4))
def test_parts_give_the_statistics_of_the_whole(images: list[npt.NDArray[np.uint8]]) -> None:
    whole = ChannelStatistics(3)
    for image in images:
        part = ChannelStatistics(3)
        part.add(image)
        whole.merge(part)
    pixels = np.concatenate([image.reshape(-1, 3) for image in images])
    mean, std = whole.result()
    assert mean == pytest.approx(pixels.mean(0)) and std == pytest.approx(pixels.std(0), abs=1e-6)
