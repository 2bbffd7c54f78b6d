"""A tree of files under one root: a local folder, or a prefix in object storage."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from typing import Protocol

from assay.data.sources.base import Rejected
from assay.errors import InputError
from assay.observability.resources import available_cores

# What systems leave in folders; nobody means them as data, so they are passed over in silence.
_SYSTEM_FILES = frozenset({"thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin"})


class Tree(Protocol):
    """Files under a root, by relative name with ``/`` between folders.

    Attributes:
        root: Where it lies; a file's address is ``root/name``.
        parallel_reads: How many reads are worth having under way at once.
    """

    root: str
    parallel_reads: int

    def files(self) -> tuple[list[str], list[Rejected]]:
        """Return the sorted names of all files, and what was set aside on the way."""
        ...

    def empty_folders(self) -> list[str]:
        """Return the sorted names of folders at the top, and one below, in which nothing lies at any depth."""
        ...

    def read(self, name: str) -> bytes:
        """Return a file's bytes.

        Raises:
            OSError: The file is gone or may not be read.
        """
        ...


class LocalTree:
    """A local folder. Symbolic links are followed as long as they stay within it.

    Args:
        folder: The root.

    Raises:
        InputError: It is missing, or no folder.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self.root = str(folder.resolve(strict=True))
            is_folder = folder.is_dir()
        except FileNotFoundError as error:
            raise InputError(f"{folder}: there is no such folder. Check the path of data.source.") from error
        except PermissionError as error:
            raise InputError(_no_permission(folder)) from error
        except (OSError, RuntimeError) as error:
            raise InputError(f"{folder}: cannot be opened ({error}). Check the path of data.source.") from error
        if not is_folder:
            raise InputError(f"{folder}: is a file. Name the folder that holds it: {folder.parent}")
        self.parallel_reads = available_cores()

    def read(self, name: str) -> bytes:
        """Return a file's bytes; see `Tree`."""
        with open(f"{self.root}/{name}", "rb", buffering=0) as file:  # noqa: PTH123 (a Path costs as much as the read)
            return file.read()

    def files(self) -> tuple[list[str], list[Rejected]]:
        """Return the sorted names of all files, and what was set aside on the way; see `Tree`.

        Raises:
            InputError: A folder may not be read.
        """
        names: list[str] = []
        rejected: list[Rejected] = []
        folders = [""]
        while folders:
            folder = folders.pop()
            path = f"{self.root}/{folder}" if folder else self.root
            try:
                with os.scandir(path) as entries:
                    for entry in entries:
                        self._sort_in(entry, folder, names, folders, rejected)
            except PermissionError as error:
                raise InputError(_no_permission(path)) from error
            except OSError as error:
                raise InputError(f"{path}: cannot be listed ({error.strerror}). Check the disk.") from error
        return sorted(names), rejected

    def empty_folders(self) -> list[str]:
        """Return the folders that hold nothing; see `Tree`."""
        tops = self._folders_in("")
        return sorted(name for top in tops for name in (top, *self._folders_in(top)) if self._is_empty(name))

    def _folders_in(self, folder: str) -> list[str]:
        with os.scandir(f"{self.root}/{folder}") as entries:
            return [
                f"{folder}/{entry.name}" if folder else entry.name
                for entry in entries
                if not is_passed_over(entry.name) and entry.is_dir(follow_symlinks=False)
            ]

    def _is_empty(self, folder: str) -> bool:
        with os.scandir(f"{self.root}/{folder}") as entries:
            return not any(
                not is_passed_over(entry.name)
                and (not entry.is_dir(follow_symlinks=False) or not self._is_empty(f"{folder}/{entry.name}"))
                for entry in entries
            )

    def _sort_in(
        self, entry: os.DirEntry[str], folder: str, names: list[str], folders: list[str], rejected: list[Rejected]
    ) -> None:
        if is_passed_over(entry.name):
            return
        name = f"{folder}/{entry.name}" if folder else entry.name
        reason = None
        if not entry.name.isprintable() and has_control_characters(entry.name):
            name = name.encode("unicode_escape", "surrogateescape").decode("ascii")
            reason = "control characters or invalid UTF-8 in the file name; rename it"
        elif entry.is_symlink():
            reason = self._bad_link(entry, folder)
        if reason is None:
            if entry.is_dir():
                folders.append(name)
                return
            if entry.is_file():
                names.append(name)
                return
            reason = "neither a file nor a folder"
        rejected.append(Rejected(f"{self.root}/{name}", reason))

    def _bad_link(self, entry: os.DirEntry[str], folder: str) -> str | None:
        target = os.path.realpath(entry.path)
        if target != self.root and not target.startswith(self.root + os.sep):
            return "a symbolic link out of the source"
        if not os.path.lexists(target):
            return "a symbolic link to nothing"
        here = os.path.realpath(f"{self.root}/{folder}")
        if here == target or here.startswith(target + os.sep):
            return "a symbolic link to a folder that holds it"
        return None


def is_passed_over(name: str) -> bool:
    """Return whether a file or folder is one that systems leave behind, or hidden."""
    return name.startswith(".") or name.lower() in _SYSTEM_FILES


def has_control_characters(text: str) -> bool:
    """Return whether a text holds characters that would break a line or cannot be written as UTF-8."""
    return any(unicodedata.category(character) in ("Cc", "Cs") for character in text)


def _no_permission(path: str | Path) -> str:
    return f"{path}: no permission to read this folder. Change its mode or run as its owner."
