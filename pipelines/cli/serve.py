"""A model behind HTTP: ``assay serve``."""

from __future__ import annotations

from typing import Annotated

import typer

from assay.errors import InputError
from pipelines.cli.options import DEFAULT_STORAGE, NameOption, StorageOption


def serve(
    name: NameOption = "assay",
    version: Annotated[str | None, typer.Option("--version", help="A version; default: the champion.")] = None,
    storage: StorageOption = DEFAULT_STORAGE,
    host: Annotated[str, typer.Option("--host", help="Address; default: this machine alone.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: a free one.")] = 8501,
) -> None:
    """Answer images over HTTP as TensorFlow Serving does, read as in training; docs/serving.md."""
    from assay.models.artifact import load_model
    from assay.registry.versions import ModelRegistry
    from assay.serve import ModelServer
    from assay.storage.cache import cache_folder
    from assay.storage.open import open_store

    registry = ModelRegistry(open_store(storage), name)
    resolved = registry.resolve(version)
    model = load_model(registry.fetch(resolved, cache_folder("models")))
    try:
        server = ModelServer(model, name, resolved, host, port)
    except OSError as error:
        raise InputError(f"{host}:{port}: {error.strerror or error}. Give another --port or --host.") from error
    with server:
        typer.echo(f"{name} {resolved}: http://{host}:{server.server_port}/v1/models/{name}:predict (Ctrl-C ends it)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            typer.echo("stopped", err=True)
