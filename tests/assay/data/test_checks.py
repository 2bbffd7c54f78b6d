"""What forbids training, and what a user should look at first."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from assay.config import DataConfig
from assay.data.checks import kind_of_reason, refusals, remarks, warnings
from assay.data.survey import survey


def refused(root: Path, **options: object) -> list[str]:
    return refusals(survey(str(root), DataConfig(**options)))


def warned(root: Path, **options: object) -> list[str]:
    return warnings(survey(str(root), DataConfig(**options)))


def remarked(root: Path, **options: object) -> list[str]:
    return remarks(survey(str(root), DataConfig(**options)))


def test_a_sound_source_is_neither_refused_nor_warned_of(class_folders: Path) -> None:
    assert refused(class_folders) == []
    assert warned(class_folders) == []
    assert remarked(class_folders) == []


def test_nothing_usable_is_refused(class_folders: Path) -> None:
    for file in class_folders.rglob("*.png"):
        file.write_bytes(b"")
    (line,) = refused(class_folders)
    assert "none of 20 files can be used (20 empty)" in line


def test_too_many_bad_files_are_refused_and_the_limit_is_named(class_folders: Path) -> None:
    for number in range(3):
        (class_folders / "benign" / f"{number}.txt").write_text("no image")
    (line,) = refused(class_folders, max_bad_fraction=0.1)
    assert "3 of 23 files cannot be used (3 not an image; first: " in line
    assert "data.max_bad_fraction = 0.1 allows" in line
    assert "assay data inspect" in line
    assert refused(class_folders, max_bad_fraction=0.2) == []


def test_one_class_is_refused(class_folders: Path) -> None:
    shutil.rmtree(class_folders / "malignant")
    assert "one class only ('benign')" in refused(class_folders)[0]


def test_a_class_smaller_than_the_splits_is_refused(class_folders: Path, draw) -> None:
    for number in range(2):
        draw(class_folders / "rare" / f"{number}.png", 700 + number)
    (line,) = refused(class_folders)
    assert "class 'rare' has 2 images, but train, valid and test need 3 at least" in line
    shutil.copy(class_folders / "rare" / "0.png", class_folders / "rare" / "2.png")
    assert "class 'rare' has 3 images from 2 groups" in refused(class_folders)[0]
    assert refused(class_folders, classes=("benign", "malignant")) == []


def test_a_class_of_which_nothing_is_usable_is_refused(class_folders: Path) -> None:
    (class_folders / "rare").mkdir()
    (class_folders / "rare" / "1.png").write_bytes(b"")
    assert any("class 'rare' has no usable example" in line for line in refused(class_folders))


def test_unbalanced_classes_and_small_splits_are_told(tmp_path: Path, draw) -> None:
    seeds = iter(range(100))
    for split, benign, malignant in (("train", 40, 3), ("test", 4, 3)):
        for label, count in (("benign", benign), ("malignant", malignant)):
            for number in range(count):
                draw(tmp_path / split / label / f"{number}.png", next(seeds))
    found = warned(tmp_path)
    assert any(line.startswith("unbalanced: 44 of 'benign', 6 of 'malignant'") for line in found)
    assert any(line.startswith("test has only 3 of 'malignant'") for line in found)


def test_leaks_over_the_given_splits_are_told(tmp_path: Path, draw) -> None:
    lines = ["path,label,split,group"]
    for number in range(40):
        draw(tmp_path / f"{number}.png", number)
        group = "shared" if number in (0, 39) else f"slide {number}"
        lines.append(f"{number}.png,{'ab'[number % 2]},{'train' if number < 30 else 'test'},{group}")
    Image.open(tmp_path / "1.png").save(tmp_path / "copy.jpg", quality=92)
    Image.open(tmp_path / "2.png").save(tmp_path / "other.jpg", quality=92)
    lines += ["copy.jpg,b,test,", "other.jpg,b,train,"]
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    found = warned(tmp_path)
    assert any(line.startswith("1 set of duplicates in several of the splits") for line in found)
    assert any(line.startswith("1 group (slide, patient) in several of the splits") for line in found)
    assert any("(first: shared)" in line for line in found)
    assert any(line.startswith("1 set of near duplicates with different labels") for line in found)


def test_one_group_that_holds_much_is_told(tmp_path: Path, draw) -> None:
    lines = ["path,label,group"]
    for number in range(20):
        draw(tmp_path / f"{number}.png", number)
        lines.append(f"{number}.png,{'ab'[number % 2]},{'big' if number < 12 else number}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    assert "group 'big' holds 60% of all examples" in warned(tmp_path)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda image, file: image.save(file.with_suffix(".bmp")), "shortcut: the file format alone tells the class"),
        (lambda image, file: image.resize((30, 30)).save(file), "shortcut: the size alone tells the class in 100%"),
        (lambda image, file: image.convert("L").save(file), "shortcut: the colour mode alone tells the class"),
        (lambda image, file: image.point(lambda v: v // 8).save(file), "shortcut: mean brightness alone separates"),
    ],
)
def test_shortcuts_in_the_files_are_told(class_folders: Path, change, what: str) -> None:
    for file in sorted((class_folders / "malignant").iterdir()):
        image = Image.open(file).copy()
        file.unlink()
        change(image, file)
    assert any(line.startswith(what) for line in warned(class_folders))


def test_blank_and_dim_images_are_told(class_folders: Path) -> None:
    folder = class_folders / "benign"
    Image.new("RGB", (24, 24)).save(folder / "black.png")
    Image.new("RGB", (24, 24), "white").save(folder / "white.png")
    Image.new("RGB", (24, 24), "gray").save(folder / "shade.png")
    twelve_bits = np.random.default_rng(0).integers(0, 4096, (24, 24)).astype(np.uint16)
    Image.fromarray(twelve_bits).save(folder / "dim.png")
    found = warned(class_folders)
    assert "1 image all black (first: benign/black.png)" in found
    assert "1 image all white (first: benign/white.png)" in found
    assert "1 image of one shade only (first: benign/shade.png)" in found
    assert any(line.startswith("1 image of 16 bits, using less than an eighth of the range") for line in found)


def twelve_bits(number: int) -> np.ndarray:
    """A grey picture of 12 bits in 16 with a burnt-in white marker."""
    values = np.random.default_rng(number).integers(0, 3900, (48, 48)).astype(np.uint16)
    values[2:8, 2:10] = 65535
    return values


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_twelve_bits_in_sixteen_are_told_with_the_way_out(tmp_path: Path, byteorder: str) -> None:
    for number in range(8):
        file = tmp_path / "ab"[number % 2] / f"{number}.tif"
        file.parent.mkdir(exist_ok=True)
        tifffile.imwrite(file, twelve_bits(number), byteorder=byteorder, photometric="minisblack")
    (line,) = [line for line in warned(tmp_path) if "8 images of 16 bits, using less than an eighth" in line]
    assert "set data.window=[0,4095], or data.window=percentile" in line
    opened = warned(tmp_path, window=(0, 4095))
    assert not any("an eighth" in line for line in opened)
    assert survey(str(tmp_path), DataConfig(window=(0, 4095))).table["duplicates"].max() == -1
    too_wide = warned(tmp_path, window=(0, 2_000_000))
    assert any("8 images of more than 8 bits, using less than an eighth of data.window" in line for line in too_wide)


def test_white_is_zero_in_twelve_bits_is_told_too(tmp_path: Path) -> None:
    for number in range(8):
        file = tmp_path / "ab"[number % 2] / f"{number}.tif"
        file.parent.mkdir(exist_ok=True)
        tifffile.imwrite(file, 4095 - np.minimum(twelve_bits(number), 4095), photometric="miniswhite")
    assert any("8 images of 16 bits" in line and "data.window=[0,4095]" in line for line in warned(tmp_path))


def test_dropped_bands_and_windows_are_remarked_on(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for number in range(8):
        file = tmp_path / "ab"[number % 2] / f"{number}.tif"
        file.parent.mkdir(exist_ok=True)
        bands = random.integers(0, 255, (24, 24, 5)).astype(np.uint8)
        tifffile.imwrite(file, bands, photometric="rgb", extrasamples=["unspecified"] * 2)
    assert remarked(tmp_path) == [
        "8 images with bands beyond colour and transparency, dropped (up to 5 bands; data.bands chooses others) "
        "(first: a/0.tif)"
    ]
    assert remarked(tmp_path, bands=(5, 4, 1)) == []
    assert remarked(tmp_path, bands=(5, 4, 1), window=(0, 9)) == [
        "data.window is set, but no file has more than 8 bits a channel: it changes nothing"
    ]


def test_sizes_that_all_differ_are_told_with_the_size_that_is_taken(tmp_path: Path, draw) -> None:
    for number in range(20):
        file = draw(tmp_path / "ab"[number % 2] / f"{number}.png", number)
        Image.open(file).resize((40 + 3 * number, 30 + number)).save(file)
    (line,) = [line for line in remarked(tmp_path) if " sizes, " in line]
    assert line.startswith("20 sizes, 40 x 30 to 97 x 49 (width x height); all become 69 x 40, the median height")
    assert "data.image_size=[height,width] sets another" in line


def test_images_that_need_much_memory_are_told_before_it_is_taken(tmp_path: Path, draw) -> None:
    for number in range(6):
        draw(tmp_path / "ab"[number % 2] / f"{number}.png", number)
    assert not any("large images" in line for line in warned(tmp_path))
    (line,) = [line for line in warned(tmp_path, image_size=(1500, 2000)) if line.startswith("large images")]
    assert "2000 x 1500: the dataset takes 0.1 GB on disk" in line
    assert "about 12 GB of memory for a batch of 32" in line


def test_what_is_handled_is_remarked_on(class_folders: Path, draw) -> None:
    folder = class_folders / "benign"
    Image.open(draw(folder / "a.png", 900)).save(folder / "a.jpg", "PNG")
    Image.open(folder / "a.png").convert("RGBA").save(folder / "clear.png")
    Image.open(folder / "a.png").convert("L").save(folder / "grey.png")
    Image.open(folder / "a.png").save(folder / "moving.gif", save_all=True, append_images=[Image.new("RGB", (24, 24))])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(folder / "a.png").resize((48, 24)).save(folder / "turned.jpg", exif=exif)
    assert remarked(class_folders) == [
        "1 image named for another format; used as what it is (first: benign/a.jpg)",
        "1 image with several frames or pages: only the first is used (first: benign/moving.gif)",
        "1 image with transparency: laid on white (first: benign/clear.png)",
        "1 image turned or mirrored as the EXIF orientation asks (first: benign/turned.jpg)",
        "1 image grey among colour ones (first: benign/grey.png)",
        "2 sizes, 24 x 24 to 24 x 48 (width x height); all become 24 x 24",
    ]
    assert "1 image stretched by more than 25% to become 24 x 24 (first: benign/turned.jpg)" in warned(class_folders)
    assert any("1 image stretched" not in line for line in warned(class_folders, image_size=(48, 24)))


def test_grey_sources_are_told_how_to_save_work(class_folders: Path) -> None:
    for file in class_folders.rglob("*.png"):
        Image.open(file).convert("L").save(file)
    assert remarked(class_folders) == ["all images are grey: data.color_mode grayscale makes smaller, faster networks"]
    assert remarked(class_folders, color_mode="grayscale") == []


def test_missing_sensor_values_are_remarked_on(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for label in "ab":
        (tmp_path / label).mkdir()
        for number in range(4):
            window = random.normal(size=(6, 2))
            window[0, 0] = np.nan if number == 0 else 1
            np.save(tmp_path / label / f"{number}.npy", window)
    found = remarked(tmp_path, kind="sensor", missing="interpolate")
    assert found == ["2 windows have missing values, to be filled by interpolation in time"]


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("too large: 20,000 x 20,000 = 400,000,000 pixels", "too large"),
        ("truncated (image file is truncated)", "truncated"),
        ("not an image (a PDF document; export its pictures as PNG)", "not an image"),
        (
            "3 of 24 values are missing, and data.missing is error",
            "3 of 24 values are missing, and data.missing is error",
        ),
    ],
)
def test_reasons_have_kinds(reason: str, kind: str) -> None:
    assert kind_of_reason(reason) == kind
