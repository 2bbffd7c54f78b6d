"""A snapshot: the table of every usable example of a source, with the fingerprint that later steps are keyed by."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from assay.data.sources.base import Entry
from assay.data.splitting import FOLD, KEPT
from assay.errors import InputError
from assay.hashing import hash_json
from assay.storage.files import read_errors
from assay.storage.seals import damaged, is_intact, seal_of, sealed

SCHEMA_VERSION = 1
RECORDS_FILE = "records.parquet"
# A table may have the columns `KEPT` and `FOLD` of `assay.data.splitting`, too.
COLUMNS = ("id", "uri", "label", "split", "group", "sha256", "size", "width", "height", "mode")
IDENTITY = ("id", "label", "split", "group", "sha256")


@dataclass(frozen=True)
class Snapshot:
    """What ingestion found usable in a source.

    Attributes:
        root: The local folder that holds the snapshot's files.
        source: The URI given to `assay.data.sources.open_source`; entries are read from it.
        kind: ``image`` or ``sensor``.
        classes: Class names in class order.
        fingerprint: SHA-256 (hex) of the examples, independent of their order and of where they lie.
        report: Counts, layout, notes and warnings, as shown in quality.html.
        seal: Size and checksum of the table's file, of a snapshot that was read.
    """

    root: Path
    source: str
    kind: str
    classes: tuple[str, ...]
    fingerprint: str
    report: dict[str, Any]
    seal: dict[str, Any] | None = None

    @classmethod
    def open(cls, root: Path) -> Snapshot:
        """Read a snapshot's description.

        Args:
            root: A local folder with snapshot.json and records.parquet.

        Raises:
            InputError: The folder holds no snapshot, or one of another schema version.
        """
        file = root / "snapshot.json"
        try:
            described = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise InputError(f"{root}: no snapshot here (snapshot.json is missing). Run ingest first.") from error
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{file}: not valid JSON ({error}). Run ingest again.") from error
        version = described.get("schema_version") if isinstance(described, dict) else None
        if version != SCHEMA_VERSION:
            raise InputError(f"{file}: schema version {version}, this Assay reads {SCHEMA_VERSION}. Run ingest again.")
        if not is_intact(described):
            raise InputError(f"{file}: has changed since ingest wrote it. Run ingest again.")
        return cls(
            root=root,
            seal=described["records"],
            source=described["source"],
            kind=described["kind"],
            classes=tuple(described["classes"]),
            fingerprint=described["fingerprint"],
            report=described["report"],
        )

    @functools.cached_property
    def table(self) -> pd.DataFrame:
        """One row an example, sorted by id.

        Columns: id, uri, label, split ("" or train, valid, test), group (never empty: a stand-alone example
        is a group of its own; duplicates share one), sha256, size (bytes), width and height (pixels; for
        sensors: channels and time steps), mode (Pillow's name of the colour mode, or the dtype). Where splits of
        earlier snapshots are kept, so that they are not those that a seed alone would give: kept (the split of each
        example, "" where it is left out) and, likewise for folds, fold (from 0).
        """
        file = self.root / RECORDS_FILE
        harm = damaged(self.root, {RECORDS_FILE: self.seal}) if self.seal is not None else None
        if harm is not None:
            raise InputError(f"{file}: damaged since ingest wrote it ({harm[1]}). Run ingest again.")
        with read_errors(file, "Remove the snapshot and run ingest again."):
            return pd.read_parquet(file)

    def entries(self) -> list[Entry]:
        """Return the table's rows as entries that the source reads."""
        columns = [self.table[name] for name in ("id", "uri", "label", "split", "group")]
        return [Entry(*row) for row in zip(*columns, strict=True)]

    def write(self, table: pd.DataFrame) -> None:
        """Write snapshot.json and records.parquet into ``root``, which exists."""
        columns = [*COLUMNS, *(name for name in (KEPT, FOLD) if name in table)]
        table[columns].to_parquet(self.root / RECORDS_FILE, index=False)
        described = {
            "schema_version": SCHEMA_VERSION,
            "source": self.source,
            "kind": self.kind,
            "classes": list(self.classes),
            "fingerprint": self.fingerprint,
            "report": self.report,
            "records": seal_of(self.root / RECORDS_FILE),
        }
        text = json.dumps(sealed(described), indent=1, ensure_ascii=False)
        (self.root / "snapshot.json").write_text(text, encoding="utf-8")


def fingerprint(table: pd.DataFrame, kind: str) -> str:
    """Return the SHA-256 (hex) over the sorted (id, label, split, group, sha256) of all examples, and the kind.

    Splits and folds kept from earlier snapshots count, too, where the table has them.

    Args:
        table: One row an example, with those columns.
        kind: ``image`` or ``sensor``.
    """
    columns = [*IDENTITY, *(name for name in (KEPT, FOLD) if name in table)]
    rows = sorted(zip(*(table[name].tolist() for name in columns), strict=True))
    return hash_json({"kind": kind, "rows": rows})
