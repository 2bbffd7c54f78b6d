"""Masks among images: found by name with the image beside, or by name with few grey levels."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from assay.config import DataConfig
from assay.data.inspect import inspect_source
from assay.data.masks import FEW_SHADES, count_shades, find_masks


def test_count_shades_are_counted() -> None:
    assert count_shades(np.zeros((40, 40, 1), np.uint8)) == 1
    assert count_shades(np.arange(256, dtype=np.uint8).reshape(16, 16, 1)) == 256
    assert count_shades(np.tile(np.array([0, 255], np.uint8), (3000, 2000))[..., None]) <= 2


@pytest.mark.parametrize(
    ("names", "masks", "pattern"),
    [
        (["benign/benign (1).png", "benign/benign (1)_mask.png", "benign/benign (1)_mask_1.png"], 2, "*_mask*"),
        (
            ["COVID/images/C-1.png", "COVID/masks/C-1.png", "COVID/images/C-2.png", "COVID/masks/C-2.png"],
            2,
            "*/masks/*",
        ),
        (["a/x.jpg", "a/x_segmentation.png", "a/y.jpg"], 1, "*_segmentation*"),
        (["a/x.tif", "a/mask_x.tif"], 1, "mask*"),
        (["a/TCGA_1.tif", "a/TCGA_1_mask.tif"], 1, "*_mask*"),
        (["a/x.png", "a/x-gt.png"], 1, "*-gt*"),
    ],
)
def test_an_image_named_as_the_mask_of_another_is_one(names: list[str], masks: int, pattern: str) -> None:
    found = find_masks(names, [200] * len(names))
    assert found.chosen.sum() == masks
    assert found.pattern == pattern
    kept = [name for name, mask in zip(names, found.chosen, strict=True) if not mask]
    assert not any("mask" in name or "seg" in name or "gt" in name for name in kept)


def test_a_name_alone_is_not_enough() -> None:
    faces = ["with_mask/with_mask_1.jpg", "with_mask/00001_Mask.jpg", "without_mask/00001.jpg", "a/label_3.png"]
    assert not find_masks(faces, [200] * 4).chosen.any()
    assert find_masks(faces, [200, FEW_SHADES, 200, 2]).chosen.tolist() == [False, True, False, True]
    assert not find_masks(["a/1.png", "b/2.png"], [2, 2]).chosen.any()


def test_masks_are_named_refused_above_a_share_and_left_out_by_a_pattern(class_folders, draw) -> None:
    folder = class_folders / "benign"
    Image.fromarray(np.tile(np.array([0, 255], np.uint8), (24, 12))).save(folder / "03_mask.png")
    report = inspect_source(str(class_folders), DataConfig())
    (line,) = report.refusals
    assert "1 of 21 images look like segmentation masks of others (first: benign/03_mask.png)" in line
    assert "data.exclude=\"['*_mask*']\"" in line
    without = inspect_source(str(class_folders), DataConfig(exclude=("*_mask*",)))
    assert without.refusals == ()
    assert without.figures["used"] == 20
    assert "1 files are left out by data.exclude (*_mask*)" in dict(without.rows())["note"]
    for number in range(40):
        draw(folder / f"more{number}.png", 5000 + number)
    few = inspect_source(str(class_folders), DataConfig())
    assert few.refusals == ()
    assert any("1 of 61 images look like segmentation masks" in line for line in few.figures["warnings"])
