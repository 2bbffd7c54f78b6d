"""What each finished training of a model began from, so that the next one can tell what has changed since.

``models/<name>/trained/<digest>.json`` is one object for each different data, config and code; ``latest.json`` beside
them is the last of them. A version cannot hold this: the same weights from a changed config or code are the same
version.
"""

from __future__ import annotations

import datetime

from pydantic import Field

from assay.config import RunConfig
from assay.hashing import code_version, hash_json
from assay.registry.versions import MODELS, StoredRecord
from assay.storage.files import ObjectNotFound
from assay.storage.objects import ObjectStore

TRAINED = "trained"
LATEST = "latest.json"
# Of the config's sections: where results lie and how the machine is used make no other model.
WITHOUT_RESULT = {"storage", "runtime", "name", "version"}
# Of the data's: content counts, which the fingerprint has, and not under which address or in how many parts.
WITHOUT_CONTENT = {"source", "shards"}


class TrainingRecord(StoredRecord):
    """What one training began from."""

    data: str = Field(description="fingerprint of the snapshot")
    config: str = Field(description="of `config_fingerprint`")
    code: str = Field(description="of `code_version`")
    run_id: str = Field("", description="the run that ended with it; empty: not known")
    finished: str = Field("", description="UTC")

    @property
    def inputs(self) -> dict[str, str]:
        """Data, config and code."""
        return {name: getattr(self, name) for name in ("data", "config", "code")}

    @property
    def object_name(self) -> str:
        """The record's name among those of its model: one for the same inputs."""
        return f"{hash_json(self.inputs)[:32]}.json"


def config_fingerprint(config: RunConfig) -> str:
    """Return 16 digits of the hash of all in a config that can make another model or another decision."""
    sections = config.model_dump(mode="json", exclude=WITHOUT_RESULT)
    for name in ("baseline", "search", "finetune"):
        if not sections[name]["enabled"]:
            sections[name] = {"enabled": False}
    sections["data"] = {key: value for key, value in sections["data"].items() if key not in WITHOUT_CONTENT}
    return hash_json(sections)[:16]


def record_training(store: ObjectStore, name: str, data: str, config: str, run_id: str = "") -> TrainingRecord:
    """Write down that a training from these inputs, by this code, has come to its end; the same again is no harm.

    Args:
        store: Of the models.
        name: The model's.
        data: Fingerprint of the snapshot.
        config: Of `config_fingerprint`.
        run_id: The run's, if it has one.
    """
    finished = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    record = TrainingRecord(data=data, config=config, code=code_version(), run_id=run_id, finished=finished)
    # The pointer last: whatever dies in between, it never names what was not written.
    for at in (record.object_name, LATEST):
        store.write_bytes(_at(name, at), record.to_bytes())
    return record


def what_changed(store: ObjectStore, name: str, data: str, config: str) -> tuple[bool, str]:
    """Tell whether anything has changed since a model was trained, and what, in words.

    Any training counts, not the last alone and not those that made a champion: a challenger that lost would lose again.

    Args:
        store: Of the models.
        name: The model's.
        data: Fingerprint of the snapshot.
        config: Of `config_fingerprint`.

    Returns:
        Whether something has changed, and what: against the training from the same inputs where nothing has, else
        against the last one.

    Raises:
        UnreadableRecord: A record is damaged.
    """
    now = TrainingRecord(data=data, config=config, code=code_version())
    same = _read(store, _at(name, now.object_name))
    if same is not None:
        return False, f"data, config and code are those of the training{_of(same)}"
    last = _read(store, _at(name, LATEST))
    if last is None:
        return True, f"no training of {name} is on record"
    differ = [part for part in now.inputs if now.inputs[part] != last.inputs[part]]
    if not differ:
        # The pointer was written and its object was deleted since.
        return False, f"data, config and code are those of the training{_of(last)}"
    said = {"data": "the data", "config": "the config", "code": f"the code ({last.code}, now {now.code})"}
    return True, f"changed since the training{_of(last)}: {'; '.join(said[part] for part in differ)}"


def _of(record: TrainingRecord) -> str:
    when = f" of {record.finished[:16].replace('T', ' ')} UTC" if record.finished else ""
    return when + (f" (run {record.run_id})" if record.run_id else "")


def _read(store: ObjectStore, name: str) -> TrainingRecord | None:
    try:
        return TrainingRecord.parse(store.read_bytes(name), store.uri(name))
    except ObjectNotFound:
        return None


def _at(name: str, object_name: str) -> str:
    return f"{MODELS}/{name}/{TRAINED}/{object_name}"
