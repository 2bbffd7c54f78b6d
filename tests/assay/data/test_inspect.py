"""``assay data inspect``: what it shows, and that it writes nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

from PIL import Image

from assay.config import DataConfig
from assay.data.inspect import inspect_source


def text(root: Path, **options: object) -> str:
    return "\n".join(inspect_source(str(root), DataConfig(**options)).lines())


def test_a_sound_source_has_counts_and_no_problems(class_folders: Path) -> None:
    before = sorted(class_folders.rglob("*"))
    report = inspect_source(str(class_folders), DataConfig())
    assert report.problems == ()
    assert report.counts() == [("class", "all"), ("benign", "10"), ("malignant", "10"), ("all", "20")]
    rows = dict(report.rows())
    assert rows["size"] == "24 x 24, all"
    assert rows["format"] == "PNG, all"
    assert rows["duplicates"] == rows["set aside"] == "none"
    assert "no problems found" in list(report.lines())
    assert sorted(class_folders.rglob("*")) == before


def test_splits_get_a_column_each(tmp_path: Path, draw) -> None:
    seed = iter(range(100))
    for split, count in (("train", 4), ("test", 2)):
        for label in ("a", "b"):
            for number in range(count):
                draw(tmp_path / split / label / f"{number}.png", next(seed))
    assert inspect_source(str(tmp_path), DataConfig()).counts() == [
        ("class", "train", "test", "all"),
        ("a", "4", "2", "6"),
        ("b", "4", "2", "6"),
        ("all", "8", "4", "12"),
    ]


def test_problems_are_listed_and_not_raised(class_folders: Path) -> None:
    shutil.rmtree(class_folders / "malignant")
    for number in range(12):
        (class_folders / "benign" / f"{number}.txt").write_text("no image")
    shutil.copy(class_folders / "benign" / "00.png", class_folders / "benign" / "copy.png")
    Image.open(class_folders / "benign" / "01.png").resize((50, 40)).save(class_folders / "benign" / "wide.png")
    shown = text(class_folders)
    assert "cannot train " in shown
    assert "one class only ('benign')" in shown
    assert "12 files: 12 not an image" in shown
    assert f"set aside    {class_folders}/benign/0.txt: not an image" in shown
    assert "and 2 more" in shown
    assert "4 images in 2 sets, 2 of them byte for byte" in shown
    assert "2 sizes, 24 x 24 to 50 x 40" in shown


def test_groups_are_counted(tmp_path: Path, draw) -> None:
    lines = ["path,label,group"]
    for number in range(8):
        draw(tmp_path / f"{number}.png", number)
        lines.append(f"{number}.png,{'ab'[number % 2]},slide {number // 2}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    rows = dict(inspect_source(str(tmp_path), DataConfig()).rows())
    assert rows["groups"] == "4 given, for 8 files; 4 units to split after joining duplicates"
    assert rows["layout"] == "labels.csv"


def test_a_source_without_a_usable_file_is_shown_too(class_folders: Path) -> None:
    for file in class_folders.rglob("*.png"):
        file.write_bytes(b"")
    assert "none of 20 files can be used (20 empty)" in text(class_folders)
