"""The command line's outer edge: whatever a command raises ends as one line on the standard error, and an exit code."""

from __future__ import annotations

import io
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperGroup

from assay.errors import AssayError, one_line

RESUMED = {"run", "sweep", "experiments"}


class Interruptible(TyperGroup):
    """The commands; Ctrl-C in any of them says what to do next. Typer's own handling would say "Aborted!"."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            goes_on = ctx.invoked_subcommand in RESUMED
            tell("stopped." + (" The same command goes on from where it was." if goes_on else ""))
            raise typer.Exit(1) from None


def bounded(program: Callable[[], Any]) -> None:
    """Run a program; a user's error is its line and its exit code, anything else is a bug with the place of its trace.

    Args:
        program: Called without arguments; ends by `SystemExit` or returns.
    """
    for stream in (sys.stdout, sys.stderr):
        # Names of files that are no UTF-8 are shown with their bytes escaped; nothing dies of showing them.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        program()
    except AssayError as error:
        tell(f"error: {error}")
        raise SystemExit(error.exit_code) from None
    except (OSError, MemoryError) as error:
        tell(f"error: {one_line(error)}")
        raise SystemExit(1) from None
    except Exception as error:
        tell(f"error: a bug: {type(error).__name__}: {one_line(error)}. {_keep(error)}")
        raise SystemExit(1) from None


def tell(line: str) -> None:
    """Print one line to the standard error, if anyone is there to read it."""
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _keep(error: Exception) -> str:
    trace = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="assay-", suffix=".log", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as file:
            file.write(f"{sys.argv}\n\n{trace}")
    except OSError:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"It came from {place.filename}:{place.lineno}; its trace could not be kept."
    return f"Please report it with {file.name}, which holds the trace."
