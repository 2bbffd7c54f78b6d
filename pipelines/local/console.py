"""What a person sees of a run: steps with bars on a terminal, plain lines elsewhere, and the closing summary."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from assay.config import RunConfig
from assay.observability.durations import format_seconds
from pipelines.graphs.order import enabled_steps, upstream

LINE_INTERVAL_SECONDS = 15.0


class EventDisplay:
    """Shows the events of a run and keeps what the summary needs.

    Attributes:
        error: The first error event, or None.
        result: The event that names the outputs of evaluate and promote, or None.
        step_seconds: Wall seconds of each step that ran.
    """

    def __init__(self, config: RunConfig, console: Console) -> None:
        self.steps = enabled_steps(config)
        self.console = console
        self.error: dict[str, Any] | None = None
        self.result: dict[str, Any] | None = None
        self.step_seconds: dict[str, float] = {}
        self._reused: list[str] = []
        self._started: dict[str, float] = {}
        self._running: set[str] = set()
        self._bars: dict[str, TaskID] = {}
        self._last_line: dict[str, float] = {}
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("  {task.description}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[note]}"),
            console=self.console,
            transient=True,
        )

    @property
    def unfinished(self) -> tuple[str, ...]:
        """Steps that began and did not end."""
        return tuple(step for step in self._started if step in self._running)

    @property
    def reused(self) -> tuple[str, ...]:
        """Steps that did not run although the run went past them: their outputs came from an earlier run."""
        return tuple(self._reused)

    def __enter__(self) -> EventDisplay:
        if self.console.is_terminal:
            self._progress.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self.console.is_terminal:
            self._progress.stop()

    def show(self, event: dict[str, Any]) -> None:
        """Show one event; unknown kinds are passed over, so that an older reader survives a newer step."""
        handler = getattr(self, f"_on_{event.get('event')}", None)
        if handler is not None:
            handler(event)

    def _on_started(self, event: dict[str, Any]) -> None:
        step = event["step"]
        self._note_reused(step)
        self._started[step] = event["time"]
        self._running.add(step)
        number = self.steps.index(step) + 1 if step in self.steps else "?"
        part = f", {event['part']}" if event.get("part") else ""
        self.console.print(f"[bold]{step}[/bold]{part} [dim]({number} of {len(self.steps)})[/dim]")

    def _note_reused(self, before: str) -> None:
        # Steps that the graph has before this one and that never started were taken from the cache.
        if before not in self.steps:
            return
        for step in upstream(before, self.steps):
            if step not in self._started and step not in self._reused:
                self._reused.append(step)
                self.console.print(f"[bold]{step}[/bold] [dim]reused: nothing that it depends on has changed[/dim]")

    def _on_finished(self, event: dict[str, Any]) -> None:
        self._clear_bars()
        step = event["step"]
        seconds = event["time"] - self._started.get(step, event["time"])
        self._running.discard(step)
        self.step_seconds[step] = self.step_seconds.get(step, 0.0) + seconds
        self.console.print(f"  [green]done[/green] in {format_seconds(seconds)}{_headline(event.get('metrics', {}))}")

    def _on_log(self, event: dict[str, Any]) -> None:
        self.console.print(f"  {event['message']}", markup=False, soft_wrap=True)

    def _on_error(self, event: dict[str, Any]) -> None:
        self._clear_bars()
        self.error = self.error or event

    def _on_result(self, event: dict[str, Any]) -> None:
        self.result = event

    def _on_progress(self, event: dict[str, Any]) -> None:
        task, note = event["task"], event.get("note") or ""
        if self.console.is_terminal:
            if task not in self._bars:
                self._bars[task] = self._progress.add_task(task, total=event["total"], note=note)
            self._progress.update(self._bars[task], completed=event["done"], total=event["total"], note=note)
            if event.get("final"):
                self._progress.remove_task(self._bars.pop(task))
            return
        now = time.monotonic()
        last = self._last_line.setdefault(task, now)
        if now - last >= LINE_INTERVAL_SECONDS:
            self._last_line[task] = now
            total = f" of {event['total']:,}" if event["total"] else ""
            aside = f" ({note})" if note else ""
            self.console.print(
                f"  {task}: {event['done']:,}{total} {event['unit']}{aside}", markup=False, soft_wrap=True
            )

    def _clear_bars(self) -> None:
        for bar in self._bars.values():
            self._progress.remove_task(bar)
        self._bars.clear()


def _headline(metrics: dict[str, float]) -> str:
    shown = [
        f"{label} {metrics[name]:.3f}"
        for name, label in (("val_auc", "validation AUC"), ("test_auc", "test AUC"))
        if name in metrics
    ]
    if "images" in metrics:
        shown.append(f"{metrics['images']:,.0f} images")
    if metrics.get("peak_memory_mb"):
        shown.append(f"{metrics['peak_memory_mb'] / 1024:.1f} GiB")
    return f" [dim]({', '.join(shown)})[/dim]" if shown else ""


def print_summary(console: Console, evaluation_dir: Path, promotion_dir: Path, report: Path) -> None:
    """Print the leaderboard with intervals, the decision about the champion and where the report is."""
    comparison = json.loads((evaluation_dir / "comparison.json").read_text(encoding="utf-8"))
    decision = json.loads((promotion_dir / "decision.json").read_text(encoding="utf-8"))
    folds = len(comparison.get("folds", []))
    table = Table(
        title=f"Leaderboard ({f'all images, by {folds} folds' if folds else 'test split'})",
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    table.add_column("model")
    for heading in ("AUC", "accuracy", "sensitivity", "specificity"):
        table.add_column(heading, justify="right")
    for row in comparison["leaderboard"]:
        best = row["name"] == comparison["best"]
        cells = [_with_interval(row, metric) for metric in ("auc", "accuracy", "sensitivity", "specificity")]
        table.add_row(row["name"] + (" *" if best else ""), *cells, style="bold" if best else "")
    console.print(table)
    positive = comparison.get("positive_class")
    detects = f" Sensitivity is of {escape(positive)}." if positive else ""
    chosen_on = "folds' validation images" if folds else "validation split"
    console.print(f"[dim]* the candidate: best on the {chosen_on}. Brackets: 95% intervals.{detects}[/dim]")
    console.print(f"\n[bold]Champion:[/bold] {escape(decision['reason'])}", highlight=False)
    console.print("[bold]Report:[/bold] ", end="")
    console.print(str(report), markup=False, soft_wrap=True)


def _with_interval(row: dict[str, Any], metric: str) -> str:
    value = row.get(f"test_{metric}")
    if value is None:
        return "-"
    low, high = row.get(f"test_{metric}_low"), row.get(f"test_{metric}_high")
    # The interval stands below its number, so that four of them fit into a terminal of 80 columns.
    interval = f"\n[{low:.3f}, {high:.3f}]" if low is not None and high is not None else ""
    return f"{value:.3f}{interval}"
