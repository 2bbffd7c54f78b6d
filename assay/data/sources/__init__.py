"""Sources of labelled examples: folders, label tables, object storage, TensorFlow Datasets, generators."""

from __future__ import annotations

from assay.data.sources.base import Entry, Listing, Rejected, Source

__all__ = ["Entry", "Listing", "Rejected", "Source"]
