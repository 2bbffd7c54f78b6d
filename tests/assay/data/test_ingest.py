"""Ingest: the snapshot's fingerprint, what lies in it, and nothing half-written on any failure."""

from __future__ import annotations

import csv
import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from assay.config import DataConfig
from assay.data.ingest import ingest
from assay.data.sensors import decode_window
from assay.data.snapshot import Snapshot
from assay.data.sources import open_source
from assay.errors import AssayError, InputError
from assay.storage.open import open_store


def run(source: Path | str, storage: Path | str, **options: object):
    work = Path(str(storage)) if "://" not in str(storage) else Path(str(options.pop("work")))
    return ingest(DataConfig(source=str(source), **options), str(storage), work / "work")


def everything(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*")) if folder.exists() else []


def test_the_snapshot_is_stored_under_its_fingerprint(class_folders: Path, tmp_path: Path) -> None:
    (class_folders / "benign" / "bad.png").write_bytes(b"")
    result = run(class_folders, tmp_path / "store")
    assert result.snapshot_dir == tmp_path / "store" / "snapshots" / result.fingerprint
    assert result.snapshot_uri == str(result.snapshot_dir)
    assert everything(result.snapshot_dir) == ["quality.html", "quarantine.csv", "records.parquet", "snapshot.json"]
    snapshot = Snapshot.open(result.snapshot_dir)
    assert (snapshot.source, snapshot.kind, snapshot.classes) == (str(class_folders), "image", ("benign", "malignant"))
    assert snapshot.fingerprint == result.fingerprint
    assert list(snapshot.table.columns) == [
        "id", "uri", "label", "split", "group", "sha256", "size", "width", "height", "mode",
    ]  # fmt: skip
    with (result.snapshot_dir / "quarantine.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["uri", "reason"], [str(class_folders / "benign/bad.png"), "empty (0 bytes)"]]
    assert result.metrics["images"] == 20
    assert result.metrics["images_set_aside"] == 1
    assert result.metrics["bad_fraction"] == pytest.approx(1 / 21)
    assert {"ingest_seconds", "images_per_second", "groups", "duplicate_sets"} <= result.metrics.keys()
    assert everything(tmp_path / "store" / "snapshots")[0] == result.fingerprint


def test_the_fingerprint_follows_the_content_and_not_the_place(class_folders: Path, tmp_path: Path, draw) -> None:
    first = run(class_folders, tmp_path / "store")
    moved = tmp_path / "elsewhere"
    # Copied in reverse, so that the file system lists it in another order.
    for file in sorted(class_folders.rglob("*.png"), reverse=True):
        (moved / file.relative_to(class_folders)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, moved / file.relative_to(class_folders))
    second = run(moved, tmp_path / "store")
    assert second.fingerprint == first.fingerprint
    # Later steps read from where the source lies now.
    assert Snapshot.open(second.snapshot_dir).source == str(moved)
    assert set(Snapshot.open(second.snapshot_dir).table["uri"].str.startswith(str(moved))) == {True}
    draw(moved / "benign" / "00.png", 5000)
    changed = run(moved, tmp_path / "store")
    assert changed.fingerprint != first.fingerprint
    shutil.move(moved / "benign" / "01.png", moved / "malignant" / "01b.png")
    assert run(moved, tmp_path / "store").fingerprint not in (first.fingerprint, changed.fingerprint)
    assert len(everything(tmp_path / "store" / "snapshots")) == 3 * 5


def test_a_bucket_holds_the_same_snapshot(class_folders: Path, tmp_path: Path, gcs_root: str) -> None:
    local = run(class_folders, tmp_path / "store")
    remote = run(class_folders, gcs_root, work=tmp_path)
    assert remote.fingerprint == local.fingerprint
    assert remote.snapshot_uri == f"{gcs_root}/snapshots/{local.fingerprint}"
    names = open_store(gcs_root).list("snapshots")
    assert [name.rpartition("/")[2] for name in names] == [
        "quality.html", "quarantine.csv", "records.parquet", "snapshot.json",
    ]  # fmt: skip
    downloaded = tmp_path / "downloaded"
    open_store(gcs_root).download_dir(f"snapshots/{local.fingerprint}", downloaded)
    assert Snapshot.open(downloaded).table.equals(Snapshot.open(remote.snapshot_dir).table)


def test_a_demo_and_sensor_windows_are_ingested(tmp_path: Path) -> None:
    tissue = run("demo://tissue?images=24&slides=6", tmp_path / "store")
    assert Snapshot.open(tissue.snapshot_dir).table["group"].nunique() <= 6
    sensors = run("demo://sensors", tmp_path / "store", kind="sensor")
    snapshot = Snapshot.open(sensors.snapshot_dir)
    assert snapshot.kind == "sensor"
    assert snapshot.table["height"].nunique() == 1
    page = (sensors.snapshot_dir / "quality.html").read_text()
    drawn = dict(re.findall(r'<svg class="window"[^>]* aria-label="([^"]+)">(.*?)</svg>', page))
    source = open_source("demo://sensors", DataConfig(source="demo://sensors", kind="sensor"))
    entries = {entry.id: entry for entry in source.listing().entries}
    assert drawn.keys() <= entries.keys()
    assert len(drawn) >= len(snapshot.classes)
    for name, inside in drawn.items():
        window = decode_window(source.read(entries[name]))
        lines = re.findall(r'points="([^"]*)"', inside)
        assert len(lines) == window.shape[1]
        # What stands higher on the page is larger.
        places = np.array([point.split(",") for point in lines[0].split()], float)
        steps = np.linspace(0, len(window) - 1, len(places)).round().astype(int)
        assert np.corrcoef(places[:, 1], window[steps, 0])[0, 1] < -0.999


def test_real_patches_keep_their_splits(pcam: Path, tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        for label in "01":
            (tmp_path / "source" / split / label).mkdir(parents=True)
            for file in sorted((pcam / split / label).iterdir())[:10]:
                shutil.copy(file, tmp_path / "source" / split / label)
    snapshot = Snapshot.open(run(tmp_path / "source", tmp_path / "store").snapshot_dir)
    assert snapshot.table.groupby(["split", "label"]).size().tolist() == [10] * 6
    assert snapshot.report["counts"] == {label: {"train": 10, "valid": 10, "test": 10} for label in "01"}


def break_table(root: Path) -> None:
    (root / "labels.csv").write_text("path,label\nbenign/00.png,benign\nnowhere.png,malignant\n")


def break_most(root: Path) -> None:
    for file in sorted((root / "benign").iterdir())[:5]:
        file.write_bytes(b"no image")


BROKEN = {
    "empty": (lambda root: [shutil.rmtree(folder) for folder in root.iterdir()], "is empty"),
    "missing": (shutil.rmtree, "there is no such folder"),
    "one class": (lambda root: shutil.rmtree(root / "malignant"), "one class only"),
    "small class": (
        lambda root: [file.unlink() for file in sorted((root / "benign").iterdir())[2:]],
        "class 'benign' has 2 images, but train, valid and test need 3",
    ),
    "table": (break_table, "1 of 2 rows name files that are not in the source"),
    "bad files": (break_most, "5 of 20 files cannot be used"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_refused_source_leaves_nothing_behind(class_folders: Path, tmp_path: Path, name: str) -> None:
    break_it, message = BROKEN[name]
    break_it(class_folders)
    with pytest.raises(InputError) as caught:
        run(class_folders, tmp_path / "store")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
    assert everything(tmp_path / "store") == []


def in_a_process(source: Path, store: Path, before: str) -> str:
    code = (
        "import os, resource, sys\n"
        "from pathlib import Path\n"
        "from assay.config import DataConfig\n"
        "from assay.data.ingest import ingest\n"
        # Once elsewhere, so that all is imported before the process is restricted.
        "ingest(DataConfig(source=sys.argv[1]), sys.argv[2] + '-warm', Path(sys.argv[2] + '-work'))\n"
        f"{before}\n"
        "try: ingest(DataConfig(source=sys.argv[1]), sys.argv[2], Path(sys.argv[2]))\n"
        "except Exception as error: print('CAUGHT', type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, source, store], capture_output=True, text=True, check=True)
    return done.stdout.partition("CAUGHT ")[2]


def test_a_full_disk_is_one_line_and_leaves_no_half_snapshot(class_folders: Path, tmp_path: Path) -> None:
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))"
    said = in_a_process(class_folders, tmp_path / "store", limit)
    assert said.startswith("AssayError ")
    assert "File too large. Free space or name another place." in said
    assert said.count("\n") == 1
    assert everything(tmp_path / "store") in ([], ["snapshots"])


def test_a_full_disk_keeps_the_snapshot_that_was_there(class_folders: Path, tmp_path: Path) -> None:
    result = run(class_folders, tmp_path / "store")
    before = {name: (result.snapshot_dir / name).read_bytes() for name in everything(result.snapshot_dir)}
    said = in_a_process(class_folders, tmp_path / "store", "resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))")
    assert said.startswith("AssayError ")
    assert {name: (result.snapshot_dir / name).read_bytes() for name in everything(result.snapshot_dir)} == before
    assert len(list((tmp_path / "store" / "snapshots").iterdir())) == 1


def test_what_a_killed_ingest_left_goes_with_the_next_one_of_the_same(
    class_folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run(class_folders, tmp_path / "store")
    snapshots, whole = result.snapshot_dir.parent, everything(result.snapshot_dir)
    prefix = f".{result.fingerprint[:16]}-"
    for name in (f"{prefix}killed", ".another-one"):
        (snapshots / name).mkdir()
        (snapshots / name / "quarantine.csv").touch()
    # It was killed between the two renames: what was there before has stepped aside.
    result.snapshot_dir.rename(snapshots / f"{prefix}swapping.old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, pytest.raises(AssayError, match="No space"):
        patch.setattr("assay.data.ingest._write_quarantine", full)
        run(class_folders, tmp_path / "store")
    assert everything(result.snapshot_dir) == whole
    run(class_folders, tmp_path / "store")
    assert {path.name for path in snapshots.iterdir()} == {result.fingerprint, ".another-one"}


def test_a_storage_without_permission_is_one_line(class_folders: Path, tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.getuid() and folder != Path("/tmp"):
            folder.chmod(0o755)
    (tmp_path / "store").mkdir(mode=0o555)
    said = in_a_process(class_folders, tmp_path / "store", "if os.getuid() == 0: os.seteuid(65534)")
    assert said.startswith("AssayError ")
    assert "no permission" in said
    assert everything(tmp_path / "store") == []


def test_a_storage_that_is_a_file_is_one_line(class_folders: Path, tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file")
    with pytest.raises(AssayError, match="store") as caught:
        run(class_folders, tmp_path / "store")
    assert "\n" not in str(caught.value)
