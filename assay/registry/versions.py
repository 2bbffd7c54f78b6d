"""The model registry: versions that never change, a champion among them, and the record of every change.

Below ``models/<name>/`` of an object store:

- ``versions/v3/claim.json`` takes the number; ``versions/v3/model/...`` and ``versions/v3/report/...`` are the files;
  ``versions/v3/version.json``, written last, makes them a version.
- ``identities/<identity>.json`` is written once, before that, with the same content: of two processes that publish one
  model at a time, one has it. Whoever finds it without its ``version.json`` (its writer died) writes that.
- ``champion.json`` is the pointer, swapped under a generation precondition. It holds the whole change that made it.
- ``history/00000007.json`` is the seventh change, one object each, never rewritten. A change is copied there after
  the swap, and once more before the next one: whatever dies in between, none is missing.

So every moment at which a process can die leaves a valid registry.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import re
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from assay.errors import AssayError, DamagedError, InputError, did_you_mean
from assay.hashing import hash_file, hash_folder, hash_json
from assay.models.info import INFO_FILE, KERAS_FILE, SAVED_MODEL_DIR, ModelInfo, read_info
from assay.storage.files import ObjectNotFound, new_file, read_errors
from assay.storage.local import LocalStore
from assay.storage.objects import GenerationMismatch, ObjectStore

MODELS, IDENTITIES = "models", "identities"
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
VERSION = re.compile(r"v[1-9][0-9]{0,8}")
CHAMPION = "champion"
LATEST = "latest"
# Models that are in the store before they are versions, and the note of where.
KEPT, KEPT_FILE = "kept", "kept.json"

Action = Literal["promote", "rollback"]
Record = TypeVar("Record", bound="StoredRecord")


class ChampionChanged(AssayError):
    """Someone else changed the champion between the look and the swap."""


class UnreadableRecord(AssayError):
    """A stored record is damaged, or of a schema that this code does not know."""


class StoredRecord(BaseModel):
    """A record in object storage, as JSON; one of a newer schema is not read."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: Literal[1] = 1

    def to_bytes(self) -> bytes:
        """Return the record as JSON."""
        return (json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n").encode()

    @classmethod
    def parse(cls, data: bytes, uri: str) -> Self:
        """Return the record from its JSON.

        Args:
            data: The object.
            uri: Its address, for the error.

        Raises:
            UnreadableRecord: It is damaged or of another schema.
        """
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise UnreadableRecord(
                f"{uri}: not a {cls.__name__.removesuffix('Record').lower()} record that this Assay can read "
                f"({error.error_count()} errors). Restore the object or use the Assay that wrote it."
            ) from error


class Version(StoredRecord):
    """One stored model."""

    version: str = Field(description="v1, v2, ...: the order in which numbers were taken")
    id: str = Field(description="unlike that of any other version, in any registry")
    created: str = Field(description="UTC")
    info: ModelInfo
    metadata: dict[str, Any] = Field(description="what the run says of it: metrics, fingerprints")
    identity: str = Field(
        description="hash of weights, threshold, calibration and offsets: the same for the same model"
    )
    files: dict[str, str] = Field(description="SHA-256 of each file, by its name below the version")
    at: str = Field("", description="where the model's files are, if not below the version: `ModelRegistry.keep`")


class Change(StoredRecord):
    """One change of the champion."""

    sequence: int = Field(ge=1, description="1 for the first champion")
    version: str
    previous: str | None = Field(description="the champion to return to by a rollback; null: none")
    action: Action
    reason: str
    changed: str = Field(description="UTC")
    id: str


class Champion(BaseModel):
    """The champion as it was read, to be handed back for a swap.

    Args:
        change: What made it champion.
        generation: Of the pointer.
    """

    model_config = ConfigDict(frozen=True)

    change: Change
    generation: int

    @property
    def version(self) -> str:
        """The champion's version."""
        return self.change.version


class Kept(StoredRecord):
    """Where the files of a model are that were brought into the store before it became a version.

    Args:
        at: The folder, below that of the model's name.
        files: SHA-256 of each file, by its name.
    """

    at: str
    files: dict[str, str]


class ModelRegistry:
    """The versions of one model and the champion among them.

    Args:
        store: Where they are kept.
        name: The model's name, as in the config.

    Raises:
        InputError: The name is not one.
    """

    def __init__(self, store: ObjectStore, name: str) -> None:
        if not NAME.fullmatch(name):
            raise InputError(f"model name {name!r}: use up to 63 of a-z, 0-9 and '-', as in the config's `name`.")
        self.store = store
        self.name = name

    def versions(self) -> list[str]:
        """Return the versions in the order of their numbers."""
        found = {name.split("/")[3] for name in self.store.list(self._at("versions")) if name.endswith("/version.json")}
        return sorted(filter(VERSION.fullmatch, found), key=_number)

    def version(self, version: str) -> Version:
        """Return what is known of a version.

        Raises:
            InputError: There is no such version.
        """
        try:
            return self._read(Version, self._at("versions", version, "version.json"))
        except ObjectNotFound as error:
            known = self.versions()
            hint = did_you_mean(version, known) or f" There are: {', '.join(known) or 'none yet'}."
            raise InputError(f"model '{self.name}' in {self.store.root} has no version {version!r}.{hint}") from error

    def resolve(self, version: str | None = None) -> str:
        """Return the version that a user means.

        Args:
            version: v3 or 3; ``champion`` or None; ``latest``.

        Raises:
            InputError: There is no such version.
        """
        if version is None or version == CHAMPION:
            champion = self.champion()
            if champion is None:
                raise InputError(
                    f"model '{self.name}' has no champion in {self.store.root}. Check the name and the storage root, "
                    "or name one of its versions."
                )
            return champion.version
        if version == LATEST and (known := self.versions()):
            return known[-1]
        return self.version(f"v{version}" if version.isdecimal() else version).version

    def champion(self) -> Champion | None:
        """Return the champion, or None where there is none yet."""
        name = self._at("champion.json")
        try:
            found = self.store.read(name)
        except ObjectNotFound:
            return None
        return Champion(change=Change.parse(found.data, self.store.uri(name)), generation=found.generation)

    def keep(self, model_dir: Path) -> None:
        """Bring a model's files into the store before it is decided whether it becomes a version: they lie there once.

        Their place is that of their content, so nothing is ever overwritten.

        Args:
            model_dir: The artifact's folder. Of its files the description stays, beside a note of where the others are,
                which `publish` reads.

        Raises:
            InputError: The folder holds no model.
            DamagedError: A file of it is not what was written.
        """
        paths = {path.relative_to(model_dir).as_posix(): path for path in _model_files(model_dir)}
        files = {name: hash_file(path) for name, path in paths.items()}
        kept = Kept(at=f"{KEPT}/{hash_json(files)[:24]}", files=files)
        for name, path in sorted(paths.items(), key=lambda item: item[0] == INFO_FILE):
            self.store.upload_file(path, self._at(kept.at, name))
        with new_file(model_dir / KEPT_FILE) as stage:
            stage.write_bytes(kept.to_bytes())
        (model_dir / KERAS_FILE).unlink()
        shutil.rmtree(model_dir / SAVED_MODEL_DIR)

    def publish(
        self, model_dir: Path, metadata: Mapping[str, Any], *, report: Mapping[str, Path] | None = None
    ) -> Version:
        """Store a model as a new version; the same model a second time is the version it already has.

        Args:
            model_dir: The artifact's folder, or what `keep` has left of it.
            metadata: JSON-serialisable; metrics, fingerprints, where it comes from.
            report: Files to keep beside the model, by the name to keep them under.

        Raises:
            InputError: The folder holds no model.
            DamagedError: A file of it is not what was written.
        """
        info = read_info(model_dir)
        identity = hash_json(
            [info.sha256, info.threshold, info.calibration.model_dump(mode="json"), info.class_offsets]
        )
        known = self._known(identity)
        if known is not None:
            return known
        files = {f"report/{name}": path for name, path in (report or {}).items()}
        there = self._kept(model_dir)
        if there is None:
            for path in _model_files(model_dir):
                files[f"model/{path.relative_to(model_dir).as_posix()}"] = path
        hashes = {name: hash_file(path) for name, path in sorted(files.items())}
        if there is not None:
            hashes |= {f"model/{name}": written for name, written in there.files.items()}
        number = self._claim()
        for name, path in files.items():
            self.store.upload_file(path, self._at("versions", number, name))
        version = Version(
            version=number,
            id=uuid.uuid4().hex,
            created=_now(),
            info=info,
            metadata=dict(metadata),
            identity=identity,
            files=hashes,
            at=there.at if there is not None else "",
        )
        # A mismatch may be with our own write, whose answer was lost.
        with contextlib.suppress(GenerationMismatch):
            self.store.write_bytes(self._at(IDENTITIES, f"{identity}.json"), version.to_bytes(), if_generation=0)
        kept = self._known(identity)
        if kept is None:
            raise AssayError(f"{self.store.uri(self._at(IDENTITIES))}: what was written is gone. Publish again.")
        if kept.id != version.id:  # another process was first: the number stays taken, the files are of no use
            for name in files:
                self.store.delete(self._at("versions", number, name))
        return kept

    def fetch(self, version: str, cache: Path) -> Path:
        """Return a local folder with a version's model, its files checked against their hashes.

        Args:
            version: Such as v3.
            cache: Where versions from object storage are kept for the next time.

        Raises:
            InputError: There is no such version.
            AssayError: A stored file is not what was published.
        """
        found = self.version(version)
        prefix = self._at(found.at) if found.at else self._at("versions", version, "model")
        if isinstance(self.store, LocalStore):
            folder = self.store.path(prefix)
        else:
            folder = cache / f"{self.name}-{version}-{found.id}"
            if not folder.exists():
                self._download(prefix, folder)
        for name, expected in found.files.items():
            if name.startswith("model/"):
                path = folder / name.removeprefix("model/")
                if not path.is_file() or hash_file(path) != expected:
                    raise AssayError(
                        f"{path}: is not the file that was published as {self.name} {version} (SHA-256). "
                        "Restore it, or choose another version."
                    )
        return folder

    def set_champion(self, version: str, expected: Champion | None, *, reason: str) -> Change:
        """Make a version the champion, if the champion is still the expected one.

        Args:
            version: The new champion.
            expected: The champion as it was read; None: there was none.
            reason: One sentence for the record.

        Raises:
            ChampionChanged: The champion is another by now; nothing was changed.
            InputError: There is no such version.
        """
        self.version(version)
        return self._swap(version, expected, expected.version if expected else None, "promote", reason)

    def rollback(self, to: str | None = None, reason: str = "") -> str:
        """Make an earlier version the champion again.

        Args:
            to: Any version; None: the champion before this one. A second rollback goes one step further back.
            reason: For the record.

        Returns:
            The version that is champion now.

        Raises:
            InputError: There is no champion, none before it, or no such version.
            ChampionChanged: Someone else changed it at the same time.
        """
        champion = self.champion()
        if champion is None:
            raise InputError(f"model '{self.name}' in {self.store.root} has no champion to roll back.")
        target = champion.change.previous if to is None else self.resolve(to)
        if target is None:
            raise InputError(
                f"model '{self.name}': no champion came before {champion.version}. Name a version with --to."
            )
        if target == champion.version:
            raise InputError(f"model '{self.name}': {target} is the champion already.")
        before = [change for change in self.history() if change.version == target and change.action == "promote"]
        previous = before[-1].previous if before else champion.version
        self._swap(target, champion, previous, "rollback", reason or f"rolled back from {champion.version}")
        return target

    def history(self) -> list[Change]:
        """Return all changes of the champion, the first one first."""
        changes = {
            change.sequence: change
            for change in (self._read(Change, name) for name in self.store.list(self._at("history")))
        }
        champion = self.champion()
        if champion is not None:
            changes[champion.change.sequence] = champion.change
        return [changes[sequence] for sequence in sorted(changes)]

    def identities(self) -> dict[str, str]:
        """Return the name of the object that says which model a version is, by the version."""
        names = self.store.list(self._at(IDENTITIES))
        return {self._read(Version, name).version: name for name in names}

    def rolled_back(self, version: str) -> Change | None:
        """Return the rollback that took the championship from a version, if nobody gave it back since."""
        taken, champion = None, ""
        for change in self.history():
            if change.version == version:
                taken = None
            elif champion == version and change.action == "rollback":
                taken = change
            champion = change.version
        return taken

    def read_report(self, version: str, name: str) -> bytes | None:
        """Return a file that was kept beside a version's model, or None where there is none of this name."""
        try:
            return self.store.read_bytes(self._at("versions", version, "report", name))
        except ObjectNotFound:
            return None

    def record_decision(self, version: str, decision: Mapping[str, Any]) -> None:
        """Keep the decision of a comparison with the champion beside a version.

        Args:
            version: The challenger.
            decision: JSON-serialisable.
        """
        # Read back in the order of names: two decisions can fall into one millisecond.
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")
        name = f"{now.replace(':', '')}-{uuid.uuid4().hex[:8]}.json"
        data = (json.dumps(decision, indent=1, ensure_ascii=False) + "\n").encode()
        self.store.write_bytes(self._at("versions", version, "decisions", name), data, if_generation=0)

    def decisions(self, version: str) -> list[dict[str, Any]]:
        """Return the decisions about a version, the first one first."""
        names = self.store.list(self._at("versions", version, "decisions"))
        found = []
        for name in names:
            with read_errors(self.store.uri(name), "Restore the object, or remove it: a decision is told, never used."):
                decision = json.loads(self.store.read_bytes(name))
                if not isinstance(decision, dict):
                    raise ValueError(f"a decision is a mapping, not {type(decision).__name__}")
                found.append(decision)
        return found

    def look(self, champion: str, challenger: str, test: str) -> int:
        """Put a comparison with a champion into the ledger and return which look at it this is, from 1.

        The same challenger on the same test cases is the same look, however often a step is tried again.

        Args:
            champion: The version that is challenged.
            challenger: The version that challenges; empty: it is not kept, and its look is counted but not written.
            test: Fingerprint of the test cases.
        """
        prefix = self._at("looks", champion)
        while True:
            number = 0
            for name in sorted(self.store.list(prefix)):
                number, known = int(name.rsplit("/", 1)[-1][:6]), self._look(name)
                if challenger and (known.get("challenger"), known.get("test")) == (challenger, test):
                    return number
            number += 1
            if not challenger:
                return number
            content = json.dumps({"challenger": challenger, "test": test, "looked": _now()}).encode()
            # The number alone is the name: of two challengers at a time one has it, and the other looks again, as it
            # does where its own claim's answer was lost.
            with contextlib.suppress(GenerationMismatch):
                self.store.write_bytes(f"{prefix}/{number:06d}.json", content, if_generation=0)
                return number

    def looks(self) -> list[str]:
        """Return the fingerprint of the test cases of each look at a champion of this name so far."""
        return [str(self._look(name).get("test", "")) for name in sorted(self.store.list(self._at("looks")))]

    def _look(self, name: str) -> dict[str, Any]:
        with read_errors(self.store.uri(name), "Restore the object: a look that is lost makes promotion too easy."):
            look = json.loads(self.store.read_bytes(name))
            if not isinstance(look, dict):
                raise ValueError(f"a look is a mapping, not {type(look).__name__}")
            return look

    def _at(self, *parts: str) -> str:
        return "/".join((MODELS, self.name, *parts))

    def _known(self, identity: str) -> Version | None:
        """Return the version that a model already is, made whole where its publisher died; None where it is none."""
        try:
            version = self._read(Version, self._at(IDENTITIES, f"{identity}.json"))
        except ObjectNotFound:
            return None
        name = self._at("versions", version.version, "version.json")
        if not self.store.exists(name):
            with contextlib.suppress(GenerationMismatch):
                self.store.write_bytes(name, version.to_bytes(), if_generation=0)
        return version

    def _kept(self, model_dir: Path) -> Kept | None:
        """Return where a model's files are that are in the store already, or None."""
        note = model_dir / KEPT_FILE
        if not note.is_file():
            return None
        try:
            kept = Kept.parse(note.read_bytes(), str(note))
        except UnreadableRecord as error:
            raise DamagedError(str(error)) from error
        if hash_file(model_dir / INFO_FILE) != kept.files.get(INFO_FILE):
            raise DamagedError(f"{model_dir / INFO_FILE}: is not what was written (SHA-256). Run evaluate again.")
        there = {entry.name for entry in self.store.entries(self._at(kept.at))}
        gone = sorted(name for name in kept.files if self._at(kept.at, name) not in there)
        if gone:
            raise DamagedError(f"{self.store.uri(self._at(kept.at, gone[0]))}: is gone. Run evaluate again.")
        return kept

    def _claim(self) -> str:
        names = self.store.list(self._at("versions"))
        taken = [_number(name.split("/")[3]) for name in names if VERSION.fullmatch(name.split("/")[3])]
        number = max(taken, default=0) + 1
        while True:
            claim = json.dumps({"id": uuid.uuid4().hex, "claimed": _now()}).encode()
            try:
                self.store.write_bytes(self._at("versions", f"v{number}", "claim.json"), claim, if_generation=0)
                return f"v{number}"
            except GenerationMismatch:
                # Someone else has it, or our own claim's answer was lost: the next number is as good.
                number += 1

    def _swap(
        self, version: str, expected: Champion | None, previous: str | None, action: Action, reason: str
    ) -> Change:
        if expected is not None:
            self._archive(expected.change)
        change = Change(
            sequence=expected.change.sequence + 1 if expected else 1,
            version=version,
            previous=previous,
            action=action,
            reason=reason,
            changed=_now(),
            id=uuid.uuid4().hex,
        )
        generation = expected.generation if expected else 0
        try:
            self.store.write_bytes(self._at("champion.json"), change.to_bytes(), if_generation=generation)
        except GenerationMismatch as error:
            # The mismatch may be with our own write, whose answer was lost.
            if not any(past.id == change.id for past in self.history()):
                raise ChampionChanged(
                    f"model '{self.name}': the champion was changed by someone else meanwhile. "
                    "Look at `assay registry list` and try again."
                ) from error
        self._archive(change)
        return change

    def _archive(self, change: Change) -> None:
        try:
            self.store.write_bytes(
                self._at("history", f"{change.sequence:08d}.json"), change.to_bytes(), if_generation=0
            )
        except GenerationMismatch:
            return

    def _download(self, prefix: str, folder: Path) -> None:
        try:
            self.store.download_dir(prefix, folder)
        except AssayError:
            # Another process may have finished the same download first.
            if not folder.exists():
                raise

    def _read(self, kind: type[Record], name: str) -> Record:
        return kind.parse(self.store.read_bytes(name), self.store.uri(name))


def list_models(store: ObjectStore) -> list[str]:
    """Return the sorted names of the models that have a version."""
    parts = [name.split("/") for name in store.list(MODELS)]
    return sorted({part[1] for part in parts if len(part) == 5 and part[2] == "versions" and part[4] == "version.json"})


def _model_files(model_dir: Path) -> list[Path]:
    info = read_info(model_dir)
    saved = sorted(path for path in (model_dir / SAVED_MODEL_DIR).rglob("*") if path.is_file())
    files = [model_dir / KERAS_FILE, *saved, model_dir / INFO_FILE]
    missing = [path for path in files if not path.is_file()]
    if missing or not saved:
        raise InputError(
            f"{model_dir}: not a whole model ({KERAS_FILE} or {SAVED_MODEL_DIR}/ is missing). Train again."
        )
    for path, hashed, written in (
        (model_dir / KERAS_FILE, hash_file, info.sha256),
        (model_dir / SAVED_MODEL_DIR, hash_folder, info.served_sha256),
    ):
        if written and hashed(path) != written:
            raise DamagedError(f"{path}: the content is not what {INFO_FILE} says (SHA-256). Run evaluate again.")
    return files


def _number(version: str) -> int:
    return int(version[1:])


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
