"""Surveying a source: what is set aside and why, what is the same, what it is grouped by."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from assay.config import DataConfig
from assay.data.survey import Survey, survey
from assay.errors import InputError


def reasons(found: Survey) -> dict[str, str]:
    return {Path(one.uri).name: one.reason for one in found.set_aside}


def test_the_table_describes_every_usable_image(class_folders: Path) -> None:
    found = survey(str(class_folders), DataConfig())
    assert found.classes == ("benign", "malignant")
    assert len(found.table) == found.total == 20
    row = found.table.iloc[0]
    file = class_folders / "benign" / "00.png"
    assert (row["id"], row["uri"], row["label"], row["split"]) == ("benign/00.png", str(file), "benign", "")
    assert (row["width"], row["height"], row["mode"], row["format"]) == (24, 24, "RGB", "PNG")
    assert row["size"] == file.stat().st_size
    assert row["group"] == "image:benign/00.png"
    assert found.table["group"].is_unique
    assert list(found.table["id"]) == sorted(found.table["id"])


def test_bad_files_are_set_aside_with_their_reasons(class_folders: Path, draw) -> None:
    folder = class_folders / "benign"
    (folder / "empty.png").write_bytes(b"")
    (folder / "notes.txt").write_text("to do")
    whole = draw(folder / "whole.jpg", 900, 64, quality=95).read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    draw(folder / "dot.png", 901, 1)
    Image.fromarray(np.zeros((300, 300), np.uint8)).save(folder / "large.png")
    (folder / "out.png").symlink_to(shutil.copy(folder / "00.png", class_folders.parent / "other.png"))
    found = survey(str(class_folders), DataConfig(max_pixels=65_536))
    assert reasons(found) == {
        "empty.png": "empty (0 bytes)",
        "notes.txt": "not an image",
        "cut.jpg": reasons(found)["cut.jpg"],
        "dot.png": "too small: 1 x 1 pixels, each side needs 8",
        "large.png": "too large: 300 x 300 = 90,000 pixels, data.max_pixels is 65,536",
        "out.png": "a symbolic link out of the source",
    }
    assert reasons(found)["cut.jpg"].startswith("truncated (")
    assert len(found.table) == 21
    assert found.total == 27


def test_unusual_but_whole_images_are_used(class_folders: Path, draw) -> None:
    folder = class_folders / "benign"
    Image.open(draw(folder / "a.png", 900)).save(folder / "really_png.jpg", "PNG")
    cv2.imwrite(str(folder / "deep.png"), np.asarray(Image.open(draw(folder / "b.png", 901))).astype(np.uint16) * 257)
    for mode, name in (("CMYK", "cmyk.jpg"), ("L", "grey.png"), ("P", "palette.png"), ("RGBA", "clear.png")):
        Image.open(draw(folder / "c.png", 902)).convert(mode).save(folder / name)
    frames = [Image.open(draw(folder / f"{seed}.png", seed)) for seed in (910, 911)]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    found = survey(str(class_folders), DataConfig())
    assert found.set_aside == ()
    table = found.table.set_index(found.table["id"].str.removeprefix("benign/"))
    assert table.loc["really_png.jpg", "format"] == "PNG"
    assert dict(table["mode"].value_counts()) | {"RGB": 0} == {
        "RGB": 0, "RGB;16": 1, "CMYK": 1, "L": 1, "P": table["mode"].eq("P").sum(), "RGBA": 1,
    }  # fmt: skip
    assert table.loc["moving.gif", "frames"] == 2


def test_copies_are_grouped_and_groups_of_the_source_kept(tmp_path: Path, draw) -> None:
    lines = ["path,label,group"]
    for number in range(8):
        draw(tmp_path / f"{number}.png", number)
        lines.append(f"{number}.png,{'ab'[number % 2]},slide {number // 4}")
    shutil.copy(tmp_path / "0.png", tmp_path / "copy.png")
    Image.open(tmp_path / "2.png").resize((48, 48)).save(tmp_path / "again.jpg", quality=90)
    lines += ["copy.png,a,slide 2", "again.jpg,a,"]
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    table = survey(str(tmp_path), DataConfig()).table.set_index("id")
    assert table.loc["copy.png", "group"] == table.loc["0.png", "group"] == "slide 0"
    assert table.loc["again.jpg", "group"] == "slide 0"
    assert table.loc["5.png", "group"] == "slide 1"
    assert table.loc["copy.png", "exact"] == table.loc["0.png", "exact"] >= 0
    assert table.loc["again.jpg", "duplicates"] == table.loc["2.png", "duplicates"] >= 0
    assert table.loc["again.jpg", "exact"] == table.loc["5.png", "duplicates"] == -1
    alone = survey(str(tmp_path), DataConfig(near_duplicates=False)).table.set_index("id")
    assert alone.loc["again.jpg", "group"] == "image:again.jpg"
    assert alone.loc["copy.png", "group"] == "slide 0"


def test_the_same_image_under_two_labels_is_set_aside_everywhere(class_folders: Path) -> None:
    shutil.copy(class_folders / "benign" / "03.png", class_folders / "malignant" / "x.png")
    shutil.copy(class_folders / "benign" / "03.png", class_folders / "benign" / "y.png")
    found = survey(str(class_folders), DataConfig())
    text = "contradictory labels: the same image stands under 'benign', 'malignant' (also: "
    assert reasons(found) == {
        "03.png": text + "malignant/x.png)",
        "y.png": text + "malignant/x.png)",
        "x.png": text + "benign/03.png)",
    }
    assert len(found.table) == 19


def test_classes_choose_order_and_leave_others_out(class_folders: Path, draw) -> None:
    draw(class_folders / "unclear" / "1.png", 990)
    found = survey(str(class_folders), DataConfig(classes=("malignant", "benign")))
    assert found.classes == ("malignant", "benign")
    assert set(found.table["label"]) == {"malignant", "benign"}
    assert found.notes == ("left out, not named in data.classes: 1 examples of unclear",)
    with pytest.raises(InputError, match=r"has the label 'malignent'\. Did you mean 'malignant'\?"):
        survey(str(class_folders), DataConfig(classes=("malignent", "benign")))


def test_a_file_without_permission_is_set_aside(class_folders: Path) -> None:
    for folder in (class_folders, *class_folders.parents):
        if folder.stat().st_uid == os.getuid() and folder != Path("/tmp"):
            folder.chmod(0o755)
    (class_folders / "benign" / "00.png").chmod(0)
    code = (
        "import os, sys\n"
        "from assay.config import DataConfig\n"
        "from assay.data.survey import survey\n"
        # Once as it is, so that all is imported before the other user comes, who may not see the interpreter's folder.
        "survey(sys.argv[1], DataConfig())\n"
        "if os.getuid() == 0: os.seteuid(65534)\n"
        "print([(one.entry.id, one.reason) for one in survey(sys.argv[1], DataConfig()).set_aside])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, class_folders], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[('benign/00.png', 'cannot be read (Permission denied)')]"


def test_threads_do_not_change_what_is_found(pcam: Path, tmp_path: Path) -> None:
    for label in "01":
        (tmp_path / label).mkdir()
        for file in sorted((pcam / "test" / label).iterdir())[:100]:
            shutil.copy(file, tmp_path / label)
    one = survey(str(tmp_path), DataConfig(), workers=1)
    many = survey(str(tmp_path), DataConfig(), workers=7)
    assert one.table.equals(many.table)
    assert len(one.table) == 200


def windows(root: Path, count: int = 4) -> Path:
    random = np.random.default_rng(0)
    for label in ("rest", "walk"):
        (root / label).mkdir(parents=True)
        for number in range(count):
            np.save(root / label / f"{number}.npy", random.normal(size=(8, 3)).astype(np.float32))
    return root


def test_sensor_windows_of_another_shape_or_with_gaps_are_set_aside(tmp_path: Path) -> None:
    root = windows(tmp_path / "source")
    gap = np.ones((8, 3), np.float32)
    gap[2, 1] = np.nan
    np.save(root / "rest" / "gap.npy", gap)
    np.save(root / "walk" / "short.npy", np.ones((5, 3), np.float32))
    np.save(root / "walk" / "nothing.npy", np.full((8, 3), np.nan))
    found = survey(str(root), DataConfig(kind="sensor"))
    assert reasons(found) == {
        "gap.npy": "missing values: 1 of 24, and data.missing is error",
        "short.npy": "another shape: 5 x 3, most windows have 8 x 3 (steps x channels)",
        "nothing.npy": "missing values: all",
    }
    assert (found.table["height"] == 8).all()
    assert (found.table["width"] == 3).all()
    filled = survey(str(root), DataConfig(kind="sensor", missing="mean"))
    assert filled.table.set_index("id").loc["rest/gap.npy", "missing"] == 1


def test_a_failing_read_ends_the_survey_at_once(class_folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from assay.data.sources.tree import LocalTree
    from assay.errors import AssayError

    def unreachable(tree: LocalTree, name: str) -> bytes:
        raise AssayError("the storage cannot be reached")

    monkeypatch.setattr(LocalTree, "read", unreachable)
    with pytest.raises(AssayError, match="cannot be reached"):
        survey(str(class_folders), DataConfig())
