"""Sources of labelled examples: folders, label tables, object storage, TensorFlow Datasets, generators."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from assay.data.sources.base import Entry, Listing, Rejected, Source
from assay.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from assay.config import DataConfig

__all__ = ["Entry", "Listing", "Rejected", "Source", "open_source"]

_SCHEMES = ("gs", "tfds", "demo")


def open_source(uri: str, config: DataConfig) -> Source:
    """Return the source at a URI; nothing but its existence is looked at yet.

    Args:
        uri: A folder, ``gs://bucket/prefix``, ``tfds://name`` or ``demo://name?...``.
        config: Whether it holds images or sensor windows.

    Raises:
        InputError: There is nothing there, or the scheme is not known.
    """
    scheme, separator, _ = uri.partition("://")
    if not separator:
        from assay.data.sources.files import FileSource
        from assay.data.sources.tree import LocalTree

        return FileSource(LocalTree(Path(uri).expanduser()), config)
    if scheme == "demo":
        from assay.data.sources.demo import DemoSource

        demo = DemoSource(uri)
        if demo.kind != config.kind:
            raise InputError(
                f"{uri}: generates {demo.kind} data, data.kind is {config.kind}. Set data.kind: {demo.kind}"
            )
        return demo
    if scheme == "gs":
        from assay.data.sources.files import FileSource
        from assay.data.sources.remote import ObjectTree

        return FileSource(ObjectTree(uri), config)
    if scheme == "tfds":
        from assay.data.sources.tfds import TfdsSource

        if config.kind != "image":
            raise InputError(f"{uri}: only images are read from TensorFlow Datasets. Set data.kind: image")
        return TfdsSource(uri)
    hint = did_you_mean(scheme, _SCHEMES, count=1)
    raise InputError(
        f"{uri}: unknown scheme '{scheme}'.{hint} Known: a folder, {', '.join(s + '://' for s in _SCHEMES)}."
    )
