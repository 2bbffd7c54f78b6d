"""What is around every step of the pipeline: its record, what it cost, and what is said of an error.

A user's error becomes one line: on the terminal, and where the step runs in a pod in the pod's status, which is also
where the workflow engine reads that wrong input needs no further attempt.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.config import SectionType, read_brief
from assay.errors import AssayError, DamagedError, InputError, one_line
from assay.hashing import code_version
from assay.observability.last_words import BUG, ENDED, WRONG, last_words
from assay.observability.progress import emit, log
from assay.storage.files import BucketNotFound

if TYPE_CHECKING:
    from types import FrameType

# Whose storage may be a mistake in the config; the others find what it has left there.
FIRST_STEP = "ingest"
RUN_AGAIN = "Run it again: it is then made anew, with all that the cluster's cache holds"
NO_CACHE = "Submit it again with NO_CACHE=1 (assay submit --no-cache), which makes everything anew"


@dataclass
class StepRecord:
    """What a step leaves behind beside its files.

    Attributes:
        metrics: Flat metric names with finite values, for the run comparison.
        metadata: What was read and written: fingerprints, config hash, code version, image.
        value: The step's one string output, where it has one.
        scores: Of evaluate: the test metrics with their intervals, for the interface's comparison of runs.
        confusion: Class names and the square matrix of counts (true by predicted), from evaluate.
        roc: False-positive rates, true-positive rates and thresholds, from evaluate.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    value: str = ""
    scores: dict[str, float] = field(default_factory=dict)
    confusion: tuple[list[str], list[list[int]]] | None = None
    roc: tuple[list[float], list[float], list[float]] | None = None

    @property
    def described(self) -> dict[str, Any]:
        """Metadata and metrics together, for the artifact that the step is about."""
        return {**self.metrics, **self.metadata}


@contextlib.contextmanager
def step(
    name: str,
    *,
    inputs: Mapping[str, str] | None = None,
    model_path: str | None = None,
    shown_as: str = "",
    storage_root: str = "",
    **read: Any,
) -> Iterator[StepRecord]:
    """Run a step's body and make its record.

    Args:
        name: The step's.
        inputs: Paths of artifacts of earlier steps, by what they are.
        model_path: Gets the metrics beside the model: from there they reach evaluate and the run's record.
        shown_as: Which part of the step this is, in words, where it is done in several; empty: it is all of it.
        storage_root: Of the run: where on a cluster an output of an earlier step turns out to be damaged or gone, no
            later run is given what the cache holds; empty: that is for whoever submits the next one to say.
        **read: What else was read, for the metadata.
    """
    from assay.observability.parent import end_with_parent
    from assay.observability.quiet import silence_tensorflow
    from assay.observability.resources import ResourceMeter

    silence_tensorflow()
    end_with_parent()
    record = StepRecord(metadata={"code_version": code_version(), "image": os.environ.get("ASSAY_IMAGE", "local")})
    record.metadata.update(read)
    emit({"event": "started", "step": name, **({"part": shown_as} if shown_as else {})})
    try:
        with _ended_orderly(), ResourceMeter() as meter:
            _check_inputs(inputs or {})
            yield record
        measured = meter.metrics()
        for spent in ("gpu_seconds", "cost"):
            # What the step's pod had others do, such as the workers of a search.
            if f"worker_{spent}" in record.metrics:
                measured[spent] = measured.get(spent, 0.0) + record.metrics[f"worker_{spent}"]
        record.metrics = finite({**measured, **record.metrics})
        if model_path is not None:
            write_marker(f"{model_path}/metrics.json", record.metrics)
    except (AssayError, OSError, MemoryError) as error:
        message, code = one_line(error), error.exit_code if isinstance(error, AssayError) else 1
        if isinstance(error, BucketNotFound) and name != FIRST_STEP:
            # An earlier step has written there: it is the storage that fails, and may come back.
            message, code = f"{message} It was there when the run began.", 1
        if isinstance(error, DamagedError) and "KUBERNETES_SERVICE_HOST" in os.environ:
            # Kubeflow's cache would hand the same out again.
            message = f"{message} {_no_more_of_it(storage_root, message)}."
        emit({"event": "error", "step": name, "message": message, "exit_code": code})
        last_words(f"{WRONG}{message}" if code == InputError.exit_code else message)
        print(f"{name}: {message}", file=sys.stderr, flush=True)
        raise SystemExit(code) from error
    except Exception as error:
        message = f"{BUG}{one_line(error)}"
        emit({"event": "error", "step": name, "message": message, "exit_code": 1})
        last_words(message)
        raise
    emit({"event": "finished", "step": name, "metrics": {**record.metrics, **record.scores}})


@contextlib.contextmanager
def _ended_orderly() -> Iterator[None]:
    """Have SIGTERM, with which Kubernetes ends a pod, leave the block as an error would: what is cleaned up, is.

    Python's own answer to it is to stop at once.
    """

    def end(number: int, frame: FrameType | None) -> None:
        last_words(f"{ENDED} (SIGTERM)")
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():  # only the main thread may ask for signals
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _check_inputs(inputs: Mapping[str, str]) -> None:
    """See that what earlier steps gave is there.

    Kubeflow brings what is stored under an artifact's address, be it nothing: its cache does not look whether the
    outputs that it names are still there.
    """
    for what, path in inputs.items():
        if not Path(path).exists():
            raise DamagedError(f"the {what} of an earlier step is gone from storage ({path}).")


def _no_more_of_it(storage_root: str, why: str) -> str:
    """Have later runs reuse nothing of what the cache holds, and return the way out."""
    from assay.steps.cache import begin_epoch
    from assay.storage.open import open_store

    if storage_root:
        try:
            begin_epoch(open_store(storage_root), why)
            return RUN_AGAIN
        except (AssayError, OSError) as error:
            log(f"the storage takes no note of it: {one_line(error)}")
    return NO_CACHE


def write_marker(path: str, content: dict[str, Any]) -> None:
    """Write values as JSON, with the folder around the file."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(content, indent=1), encoding="utf-8")


def finite(metrics: dict[str, float]) -> dict[str, float]:
    """Return the metrics that are numbers: Kubeflow keeps them as JSON, without NaN and infinity."""
    return {name: float(value) for name, value in metrics.items() if value == value and abs(value) != float("inf")}


def parse(section: type[SectionType], text: str) -> SectionType:
    """Return a section of the config from the line that `assay.config.write_brief` made of it."""
    return read_brief(section, text, section.__name__.removesuffix("Config").lower())
