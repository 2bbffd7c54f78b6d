"""Generated data sets, ``demo://NAME?key=value``: embedded, of any size, the same for the same query anywhere."""

from __future__ import annotations

from assay.data.sources.demo.source import DemoSource

__all__ = ["DemoSource"]
