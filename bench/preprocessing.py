"""Target 7: preprocess against the decoder alone, in a process of its own, by number of images."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from assay.config import DataConfig
from assay.data.dataset import Dataset
from assay.data.images import decode
from assay.data.snapshot import Snapshot, fingerprint
from assay.observability.resources import available_cores
from bench.harness import Check, Finding, Measurement, Outcome, Settings, ratio
from bench.images import CLASSES, png_folder

SIDE = 96
DISTINCT = 1000
COUNTS, QUICK_COUNTS = (1_000, 10_000, 60_000, 250_000), (1_000, 5_000)
GIBIBYTE = 2.0**30


def run(settings: Settings) -> Outcome:
    """Measure both, in turn, for more and more images."""
    counts = QUICK_COUNTS if settings.quick else COUNTS
    files = sorted(png_folder(settings.folder, DISTINCT, SIDE).rglob("*.png"))
    rates: list[Measurement] = []
    shares, of_both, peaks, seconds = [], [], [], []
    differs = 0.0
    for count in counts:
        snapshot = write_snapshot(settings.folder / f"snapshot-{count}", files, count)
        # Large numbers take long enough to need fewer rounds.
        rounds = settings.rounds if count <= 10_000 else 3
        measured = [_in_process(snapshot, settings.folder / "dataset") for _ in range(rounds)]
        whole, alone, written = (
            Measurement(f"{name}, {count:,} images", "images/s", tuple(one[key] for one in measured))
            for name, key in (
                ("preprocess", "rate"),
                ("decoder alone", "decoder"),
                ("decoder and plain writes", "written"),
            )
        )
        rates += [whole, alone, written]
        shares.append(ratio(f"{count:,}", whole, alone).median)
        of_both.append(ratio(f"{count:,}", whole, written).median)
        peaks.append(max(one["peak"] for one in measured) / GIBIBYTE)
        seconds.append(count / whole.median)
        if count == counts[0]:
            differs = difference(snapshot, settings.folder / "compared")
        shutil.rmtree(snapshot)
    largest = counts[-1]
    straight = Measurement("linear", "x", (seconds[-1] / largest / (seconds[-2] / counts[-2]),))
    return Outcome(
        "preprocessing",
        "Preprocessing",
        findings=(
            Finding(7, f"share of the decoder's own rate, {largest:,} images", _one("share", shares[-1]), 0.8),
            Finding(7, f"peak memory, {largest:,} images", Measurement("peak", "GiB", (peaks[-1],)), 1, "at most"),
            Finding(
                7, f"time an image, {largest:,} against {counts[-2]:,}", straight, 1.25, "at most", note="1: linear"
            ),
        ),
        checks=(Check(7, "pixels of the dataset against the files", differs, 0),),
        rates=tuple(rates),
        notes=(
            "Images, peak memory: "
            + "; ".join(f"{count:,}: {peak:.2f} GiB" for count, peak in zip(counts, peaks, strict=True))
            + ".",
            "Of the rate of the decoder with nothing but plain writes of its pixels, in files as new: "
            + ", ".join(f"{share:.2f} at {count:,}" for count, share in zip(counts, of_both, strict=True))
            + ". Preprocessing also checks each file's hash and counts the statistics.",
            f"Generated PNG files of {SIDE}x{SIDE} under many names, read from the system's page cache.",
        ),
    )


def _one(name: str, value: float) -> Measurement:
    return Measurement(name, "fraction", (value,))


def write_snapshot(folder: Path, files: list[Path], count: int, side: int = SIDE) -> Path:
    """Write a snapshot of ``count`` images, hard links to a few files, as ingest would have; return its folder."""
    source = folder / "source"
    hashes = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    rows = []
    for name in CLASSES:
        for part in range(-(-count // 5000)):
            (source / name / f"{part:03d}").mkdir(parents=True)
    for number in range(count):
        file = files[number % len(files)]
        # Folders of a few thousand files each.
        name = f"{file.parent.name}/{number // 5000:03d}/{number:07d}.png"
        os.link(file, source / name)
        rows.append((name, str(source / name), file.parent.name, "", name, hashes[number % len(files)]))
    table = pd.DataFrame(rows, columns=["id", "uri", "label", "split", "group", "sha256"])
    table = table.assign(size=files[0].stat().st_size, width=side, height=side, mode="RGB").sort_values("id")
    snapshot = Snapshot(folder, str(source), "image", CLASSES, fingerprint(table, "image"), {})
    snapshot.write(table.reset_index(drop=True))
    return folder


def _in_process(snapshot: Path, out_dir: Path) -> dict[str, float]:
    """Measure in a new process, whose peak memory is that of preprocess alone."""
    command = [sys.executable, "-m", "bench.preprocessing", str(snapshot), str(out_dir)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    shutil.rmtree(out_dir)
    values: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return values


def measure(snapshot: Path, out_dir: Path) -> dict[str, float]:
    """Preprocess a snapshot, then only decode its files with as many threads."""
    from assay.data.preprocess import preprocess

    started = time.perf_counter()
    rows = preprocess(DataConfig(source=Snapshot.open(snapshot).source), snapshot, out_dir, 0)
    rate = sum(rows.metrics[f"{name}_images"] for name in ("train", "valid", "test")) / (time.perf_counter() - started)
    # Not getrusage's: a new process begins with the peak of the one that started it.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
    peak = int(status["VmHWM"].split()[0]) * 1024
    files = [Path(uri) for uri in Snapshot.open(snapshot).table["uri"].head(20_000)]
    alone = _decoder_rate(files)
    return {"rate": rate, "decoder": alone, "written": _decoder_rate(files, out_dir), "peak": peak}


def _decoder_rate(files: list[Path], write_into: Path | None = None) -> float:
    """Return how many files a second are decoded, and their pixels written, by as many threads as preprocess has."""
    threads = available_cores()

    def work(part: int) -> None:
        with (write_into / f"plain-{part}").open("wb") if write_into else contextlib.nullcontext() as out:
            for file in files[part::threads]:
                pixels = decode(file.read_bytes(), "rgb", None, 10**8)
                if out is not None:
                    out.write(pixels.data)

    started = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))
    return len(files) / (time.perf_counter() - started)


def difference(snapshot: Path, out_dir: Path) -> float:
    """Return the largest difference between a dataset's training rows and their files, in grey levels."""
    from assay.data.preprocess import preprocess
    from bench.training import quiet

    with quiet():
        preprocess(DataConfig(source=Snapshot.open(snapshot).source), snapshot, out_dir, 0)
    train = Dataset.open(out_dir).train
    root = snapshot / "source"
    worst = 0
    for row, name in enumerate(train.records["id"].tolist()[:200]):
        expected: Any = decode((root / name).read_bytes(), "rgb", None, 10**8).astype(int)
        worst = max(worst, int(np.abs(expected - train.inputs[row]).max()))
    return float(worst)


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), Path(sys.argv[2]))))
