"""Run the training graph on this machine: one subprocess or container a step, progress on the terminal, a summary at
the end."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console

from assay.config import RunConfig, dump_config
from assay.config.schemes import scheme_of
from assay.errors import AssayError, InputError
from assay.observability.parent import PARENT_VARIABLE
from assay.observability.progress import EVENTS_VARIABLE
from assay.storage.cache import FORCE_VARIABLE
from assay.storage.open import is_remote
from pipelines.graphs.order import enabled_candidates
from pipelines.local.containers import Containers
from pipelines.local.kept import check_forced, in_use, reusing
from pipelines.local.processes import how_it_died, watched


@dataclass
class RunOutcome:
    """How a run on this machine went.

    Attributes:
        run_dir: The run's folder: resolved config, log, events, report.
        reused: Steps whose outputs were taken from an earlier run.
        evaluation_dir: Output of evaluate, or None where the run ended before it.
        promotion_dir: Output of promote, or None where the run ended before it.
        seconds: Wall time.
    """

    run_dir: Path
    reused: tuple[str, ...] = ()
    evaluation_dir: Path | None = None
    promotion_dir: Path | None = None
    seconds: float = 0.0
    step_seconds: dict[str, float] = field(default_factory=dict)


def run_locally(
    config: RunConfig,
    runs_dir: Path,
    console: Console,
    *,
    image: str | None = None,
    skip_unchanged: bool = False,
    force: Collection[str] = (),
) -> RunOutcome:
    """Run the whole pipeline with ``kfp.local``.

    Args:
        config: The resolved config; local paths in it are taken from the present folder.
        runs_dir: Where runs, the step cache and (by default) the object storage live.
        console: Where progress is shown.
        image: Run each step in a container of this image; None: in a subprocess.
        force: Steps that run again although nothing has changed for them; what follows them runs again too.
        skip_unchanged: End early where data, config and code are those of an earlier training.

    Returns:
        Where the results are and which steps were reused.

    Raises:
        InputError: The config asks for what is not there; nothing has been written then.
        AssayError: A step failed; the message is that step's own line.
    """
    from assay.check import require_config
    from pipelines.local.console import EventDisplay

    force = check_forced(config, force)
    if scheme_of(str(runs_dir)) is not None:
        raise InputError(f"--runs: a folder of this machine. Received: {runs_dir}. storage.root may be gs://...")
    config = with_absolute_paths(config)
    require_config(config, image=image is not None)
    runs_dir = runs_dir.resolve()
    containers = Containers.of(image, config, runs_dir) if image else None
    run_dir = _new_run_dir(runs_dir, config.name)
    (run_dir / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    events = run_dir / "events.jsonl"
    events.touch()
    outcome = RunOutcome(run_dir)
    display = EventDisplay(config, console)
    started = time.monotonic()
    log_path = run_dir / "run.log"
    with (
        in_use(runs_dir),
        log_path.open("w", encoding="utf-8", buffering=1) as log,
        following(events, display),
        watched() as codes,
    ):
        try:
            _run_graph(config, runs_dir, events, log, containers, force, skip_unchanged=skip_unchanged)
        except RuntimeError as error:
            failure: RuntimeError | None = error
        else:
            failure = None
    outcome.seconds = time.monotonic() - started
    if display.error is not None:
        kind = InputError if display.error.get("exit_code") == InputError.exit_code else AssayError
        raise kind(f"{display.error['step']}: {display.error['message']} (log: {log_path})")
    # A container that is gone before Kubeflow asks how it ended counts as done there.
    if failure is not None or (display.result is None and not skip_unchanged):
        died = ", ".join(display.unfinished) or "a step, before it began,"
        raise AssayError(f"{died} {how_it_died(codes[-1] if codes else None, log_path)}.") from failure
    outcome.reused = display.reused
    outcome.step_seconds = display.step_seconds
    if display.result is not None:
        outcome.evaluation_dir = Path(display.result["evaluation"])
        outcome.promotion_dir = Path(display.result["promotion"])
    return outcome


def with_absolute_paths(config: RunConfig) -> RunConfig:
    """Return the config with local paths made absolute: steps run elsewhere and cache keys must not move."""

    def absolute(uri: str) -> str:
        return uri if is_remote(uri) or "://" in uri else str(Path(uri).expanduser().resolve())

    weights = config.finetune.weights
    return config.model_copy(
        update={
            "data": config.data.model_copy(update={"source": absolute(config.data.source)}),
            "storage": config.storage.model_copy(update={"root": absolute(config.storage.root)}),
            "runtime": config.runtime.model_copy(
                update={"cache_dir": config.runtime.cache_dir and absolute(config.runtime.cache_dir)}
            ),
            "finetune": config.finetune.model_copy(
                update={"weights": weights if weights in ("imagenet", "none") else absolute(weights)}
            ),
        }
    )


def _new_run_dir(runs_dir: Path, name: str) -> Path:
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    for attempt in range(100):
        run_dir = runs_dir / (f"{stamp}-{name}" + (f"-{attempt}" if attempt else ""))
        try:
            run_dir.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise InputError(
                f"{runs_dir}: cannot make a folder for the run ({error.strerror}). Give --runs."
            ) from error
        return run_dir
    raise AssayError(f"{runs_dir}: a hundred runs were started in this second. Wait a moment.")


def _run_graph(
    config: RunConfig,
    runs_dir: Path,
    events: Path,
    log: TextIO,
    containers: Containers | None,
    force: Collection[str],
    *,
    skip_unchanged: bool,
) -> None:
    with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        # Kubeflow's own imports warn and its runner prints each step's output: all of it belongs in the log.
        from kfp import local

        from pipelines.graphs.training import build_training_pipeline, pipeline_arguments

        pipeline = build_training_pipeline(
            enabled_candidates(config),
            image=containers.image if containers else None,
            folds=config.validate.folds,
            skip_unchanged=skip_unchanged,
            policy_chosen=config.augment.chooses,
        )
        # The run's folder names it in `assay compare`.
        run_id = events.parent.name
        arguments = {**pipeline_arguments(config), "system_run_id": run_id}
        variables = {EVENTS_VARIABLE: str(events), "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONUNBUFFERED": "1"}
        if force:
            variables[FORCE_VARIABLE] = ",".join(force)
        cache = runs_dir / "cache"
        with contextlib.ExitStack() as ended:
            if containers is None:
                runner = local.SubprocessRunner(use_venv=False)
                ended.enter_context(environment({**variables, PARENT_VARIABLE: str(os.getpid())}))
            else:
                # Kubeflow's cache knows an image by its name, which an image with other code may have had before.
                cache /= containers.image_id[:12]
                runner = ended.enter_context(containers.runner(config, events.parent, cache, variables))
            local.init(runner=runner, pipeline_root=str(runs_dir / "steps"), enable_caching=True, cache_root=str(cache))
            ended.enter_context(reusing(cache, force))
            pipeline(**arguments)


@contextlib.contextmanager
def environment(variables: dict[str, str]) -> Iterator[None]:
    """Set environment variables until the block ends."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def following(events: Path, display: Any) -> Iterator[None]:
    """Show events as they are written, from a thread of its own, until the block ends."""
    stop = threading.Event()

    def follow() -> None:
        with events.open(encoding="utf-8") as file:
            pending = ""
            while True:
                ended = stop.is_set()
                pending += file.read()
                *lines, pending = pending.split("\n")
                for line in lines:
                    display.show(json.loads(line))
                if ended:
                    return
                stop.wait(0.1)

    with display:
        thread = threading.Thread(target=follow, name="assay-events", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            sys.stdout.flush()
