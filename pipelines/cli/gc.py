"""The command about what nothing refers to any more: ``assay gc``."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.options import DEFAULT_RUNS, DEFAULT_STORAGE, RunsOption, StorageOption, console

MEBIBYTE = 2**20


def gc(
    storage: StorageOption = DEFAULT_STORAGE,
    runs: RunsOption = DEFAULT_RUNS,
    older_than: Annotated[
        float, typer.Option("--older-than", min=0, help="Days; what was written or used since then stays.")
    ] = 30.0,
    delete: Annotated[bool, typer.Option("--delete", help="Remove what is listed; without it nothing is.")] = False,
) -> None:
    """List snapshots, checkpoints, versions, outputs and caches that nothing refers to, or remove them.

    Never the champion, what was champion before, or what a run in flight uses.
    """
    from assay.errors import AssayError
    from assay.registry.garbage import find_cached, find_leftovers
    from assay.storage.open import is_remote, open_store
    from pipelines.local.kept import find_steps, undisturbed
    from pipelines.settings import load_settings

    folder = runs.expanduser().resolve()
    with undisturbed(folder) as alone:
        stored_since = older_than
        if is_remote(storage) or not alone:
            # Whose runs are in flight nothing in storage says, but none takes longer than this.
            stored_since = max(older_than, load_settings().run_deadline_hours / 24)
            if stored_since > older_than:
                typer.echo(f"{storage}: a run may use what is younger than {stored_since:g} days: it stays", err=True)
        found = [*find_leftovers(open_store(storage), stored_since), *find_cached(older_than)]
        if alone:
            found += find_steps(folder, older_than)
        else:
            typer.echo(f"{runs}: a run is in flight here, so the outputs of its steps are left out", err=True)
        terminal, stayed = console(markup=False), []
        for leftover in found:
            size = f"{leftover.size / MEBIBYTE:>10,.1f} MiB"
            terminal.print(
                f"{size}  {leftover.age_days:>5.0f} days  {leftover.kind}: {leftover.place} ({leftover.why})",
                soft_wrap=True,
            )
            if delete:
                try:
                    leftover.remove()
                except AssayError as error:  # it is in use by now; the others can go all the same
                    typer.echo(str(error), err=True)
                    stayed.append(leftover)
    found = [leftover for leftover in found if leftover not in stayed]
    total = sum(leftover.size for leftover in found) / MEBIBYTE
    if not found and not stayed:
        typer.echo(f"nothing is older than {older_than:g} days and without use")
    elif delete:
        typer.echo(f"removed {len(found)} things of {total:,.1f} MiB")
    else:
        typer.echo(f"{len(found)} things of {total:,.1f} MiB; nothing is removed without --delete")
