from __future__ import annotations

import base64
import re

import cv2
import numpy as np
import pytest

from assay.augmentation.parameters import Parameters, draw
from assay.augmentation.preview import border_fraction, write_preview
from assay.augmentation.warp import Augmenter
from assay.config import ColorJitter, Policy

FULL = Policy(
    rotation_range=30,
    quarter_turns=True,
    width_shift_range=0.1,
    shear_range=0.1,
    zoom_range=0.2,
    brightness_range=(0.5, 1.5),
    horizontal_flip=True,
    color_jitter=ColorJitter(hue=0.1, saturation=0.3, value=0.2),
    fill_mode="reflect",
)


def images(*shape: int) -> np.ndarray:
    smooth = np.random.default_rng(0).uniform(60, 190, (2, 4, 4, shape[2])).astype(np.float32)
    grown = [cv2.resize(image, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC) for image in smooth]
    return np.clip(np.stack(grown), 0, 255).astype(np.uint8).reshape(2, *shape)


def written(tmp_path, policy, pictures, **options) -> tuple[str, dict[str, float]]:
    indices = np.array([40, 7])
    metrics = write_preview(tmp_path / "preview.html", policy, pictures, ["benign", "malign"], indices, 3, **options)
    return (tmp_path / "preview.html").read_text(encoding="utf-8"), metrics


def sections(page: str) -> dict[str, str]:
    return dict(re.findall(r'<section id="(\w+)">(.*?)</section>', page, flags=re.S))


def decoded(section: str) -> list[tuple[str, np.ndarray]]:
    found = re.findall(r'<img alt="([^"]+)" src="data:image/jpeg;base64,([^"]+)"', section)
    return [
        (alt, cv2.cvtColor(cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), 1), cv2.COLOR_BGR2RGB))
        for alt, data in found
    ]


def test_every_operation_has_its_section_with_values_under_its_pictures(tmp_path):
    page, _ = written(tmp_path, FULL, images(48, 48, 3))
    found = sections(page)
    assert list(found) == [
        "together",
        "rotation_range",
        "quarter_turns",
        "width_shift_range",
        "shear_range",
        "zoom_range",
        "brightness_range",
        "horizontal_flip",
        "color_jitter",
    ]
    assert "↻ 30.0°" in found["rotation_range"] and "↺ 30.0°" in found["rotation_range"]
    assert "bright ×0.50" in found["brightness_range"] and "bright ×1.50" in found["brightness_range"]
    assert "hue +36°" in found["color_jitter"] and "hue -36°" in found["color_jitter"]
    for section in found.values():
        assert "benign" in section and "malign" in section
    assert "the image is mirrored at its edge" in page
    assert "shear_range 0.1 is in degrees" in page


def test_the_page_needs_nothing_from_elsewhere(tmp_path):
    page, _ = written(tmp_path, FULL, images(48, 48, 3))
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert "<script" not in page


def test_draw_n_is_what_epoch_n_shows(tmp_path):
    pictures = images(48, 48, 3)
    page, _ = written(tmp_path, FULL, pictures)
    shown = [image for alt, image in decoded(sections(page)["together"]) if alt == "draw 2"]
    trained = Augmenter(FULL, (48, 48, 3), 3).batch(pictures, np.array([40, 7]), 1)
    for one, other in zip(shown, trained, strict=True):
        assert np.abs(one.astype(int) - other).mean() < 4  # JPEG


def test_extremes_are_the_ends_of_the_range(tmp_path):
    pictures = images(48, 48, 3)
    page, _ = written(tmp_path, Policy(brightness_range=(0.5, 1.25)), pictures)
    row = decoded(sections(page)["brightness_range"])[:3]
    assert [alt for alt, _ in row] == ["original", "at the limit", "at the limit"]
    original, low, high = (image.mean() for _, image in row)
    assert low / original == pytest.approx(0.5, abs=0.03)
    assert high / original == pytest.approx(1.25, abs=0.05)


@pytest.mark.parametrize("shape", [(24, 120, 1), (500, 400, 3), (8, 8, 3)])
def test_any_shape_of_image_can_be_shown(tmp_path, shape):
    page, metrics = written(tmp_path, Policy(rotation_range=10, vertical_flip=True), images(*shape))
    assert f"{shape[0]}×{shape[1]} pixels" in page
    assert 0 < metrics["augment_border_fraction"] < 0.5
    sides = [max(image.shape) for _, image in decoded(page)]
    assert max(sides) <= 320


def test_an_empty_policy_says_so(tmp_path):
    page, metrics = written(tmp_path, Policy(), images(20, 20, 1))
    assert "This policy changes nothing" in page
    assert metrics == {"augment_border_fraction": 0.0, "augment_clipped_fraction": 0.0}


def test_what_an_operation_destroys_is_said(tmp_path):
    page, metrics = written(tmp_path, Policy(width_shift_range=0.5, brightness_range=(1.0, 3.0)), images(32, 32, 3))
    found = sections(page)
    assert "50 % of the picture comes from outside the image" in found["width_shift_range"]
    assert "cut off at white" in found["brightness_range"]
    assert metrics["augment_clipped_fraction"] > 0.1


def test_whitened_images_are_shown_where_the_policy_whitens(tmp_path):
    pictures = images(16, 16, 3)
    whitened = np.random.default_rng(1).normal(size=pictures.shape).astype(np.float32)
    page, _ = written(tmp_path, Policy(zca_whitening=True), pictures, whitened=whitened)
    assert [alt for alt, _ in decoded(sections(page)["zca_whitening"])] == ["original", "whitened"] * 2


def test_the_border_fraction_is_the_share_of_pixels_from_outside():
    assert border_fraction(Parameters.one(shift_x=10), (40, 40)) == pytest.approx(0.25, abs=0.02)
    assert border_fraction(Parameters.one(flip_horizontal=1, turns=3), (40, 40)) == 0
    drawn = draw(Policy(width_shift_range=0.2), (40, 40), 0, 0, np.arange(300))
    assert border_fraction(drawn, (40, 40)) == pytest.approx(0.1, abs=0.02)
