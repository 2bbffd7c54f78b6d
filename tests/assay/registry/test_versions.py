"""The registry keeps every version and every change, whoever else writes and whenever a process dies."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from assay.errors import AssayError, DamagedError, InputError
from assay.models.info import read_info
from assay.registry.versions import ChampionChanged, ModelRegistry, list_models
from assay.storage.objects import ObjectStore, Stored, Versioned
from assay.storage.open import open_store


@pytest.fixture
def registry(store: ObjectStore) -> ModelRegistry:
    return ModelRegistry(store, "tissue")


def test_an_empty_registry_has_nothing(registry: ModelRegistry) -> None:
    assert registry.versions() == []
    assert registry.champion() is None
    assert registry.history() == []
    assert list_models(registry.store) == []
    with pytest.raises(InputError, match="has no champion"):
        registry.resolve()
    with pytest.raises(InputError, match=r"has no version 'v1'.*none yet"):
        registry.resolve("v1")


def test_a_published_model_comes_back_byte_by_byte(
    registry: ModelRegistry, artifacts: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "card.md").write_text("# card")
    version = registry.publish(artifacts[0], {"test_auc": 0.9}, report={"model_card.md": tmp_path / "card.md"})
    assert version.version == "v1"
    folder = registry.fetch("v1", tmp_path / "cache")
    for path in artifacts[0].rglob("*"):
        if path.is_file():
            assert (folder / path.relative_to(artifacts[0])).read_bytes() == path.read_bytes()
    assert registry.version("v1") == version
    assert version.info == read_info(artifacts[0])
    assert registry.store.read_bytes("models/tissue/versions/v1/report/model_card.md") == b"# card"
    assert list_models(registry.store) == ["tissue"]


def test_the_same_model_keeps_its_version_and_another_gets_the_next(
    registry: ModelRegistry, artifacts: list[Path]
) -> None:
    assert [registry.publish(artifacts[index], {}).version for index in (0, 1, 0, 2, 1)] == [
        "v1",
        "v2",
        "v1",
        "v3",
        "v2",
    ]
    assert registry.versions() == ["v1", "v2", "v3"]
    assert [registry.resolve(text) for text in ("2", "v2", "latest")] == ["v2", "v2", "v3"]


def test_a_number_claimed_by_a_dead_publisher_is_skipped(registry: ModelRegistry, artifacts: list[Path]) -> None:
    registry.store.write_bytes("models/tissue/versions/v1/claim.json", b"{}")
    registry.store.write_bytes("models/tissue/versions/v1/model/model.keras", b"half")
    assert registry.versions() == []
    assert registry.publish(artifacts[0], {}).version == "v2"
    assert registry.versions() == ["v2"]


def test_the_champion_changes_only_from_the_one_that_was_seen(registry: ModelRegistry, artifacts: list[Path]) -> None:
    for folder in artifacts:
        registry.publish(folder, {"from": folder.parent.name})
    registry.set_champion("v1", None, reason="the first")
    seen = registry.champion()
    registry.set_champion("v2", seen, reason="better")
    with pytest.raises(ChampionChanged):
        registry.set_champion("v3", seen, reason="late")
    with pytest.raises(ChampionChanged):
        registry.set_champion("v3", None, reason="blind")
    assert registry.resolve() == "v2"
    assert registry.version("v2").metadata == {"from": artifacts[1].parent.name}
    assert [(change.sequence, change.version, change.reason) for change in registry.history()] == [
        (1, "v1", "the first"),
        (2, "v2", "better"),
    ]


def test_rolling_back_walks_back_and_is_recorded(registry: ModelRegistry, artifacts: list[Path]) -> None:
    for folder in artifacts:
        registry.publish(folder, {})
    for version in ("v1", "v2", "v3"):
        registry.set_champion(version, registry.champion(), reason="better")
    assert registry.rollback() == "v2"
    assert registry.rollback(reason="worse on the new scanner") == "v1"
    with pytest.raises(InputError, match="no champion came before v1"):
        registry.rollback()
    assert registry.rollback("3") == "v3"
    with pytest.raises(InputError, match="v3 is the champion already"):
        registry.rollback("v3")
    with pytest.raises(InputError, match="no version 'v9'"):
        registry.rollback("v9")
    assert [(change.version, change.action) for change in registry.history()] == [
        ("v1", "promote"),
        ("v2", "promote"),
        ("v3", "promote"),
        ("v2", "rollback"),
        ("v1", "rollback"),
        ("v3", "rollback"),
    ]
    assert registry.history()[4].reason == "worse on the new scanner"
    assert registry.versions() == ["v1", "v2", "v3"]


def test_rollback_without_a_champion(registry: ModelRegistry) -> None:
    with pytest.raises(InputError, match="has no champion to roll back"):
        registry.rollback()


def test_a_version_that_does_not_exist_cannot_be_champion(registry: ModelRegistry) -> None:
    with pytest.raises(InputError, match="no version 'v1'"):
        registry.set_champion("v1", None, reason="")
    assert registry.champion() is None


def test_decisions_stay_with_the_version(registry: ModelRegistry, artifacts: list[Path]) -> None:
    registry.publish(artifacts[0], {})
    registry.record_decision("v1", {"reason": "not better"})
    registry.record_decision("v1", {"reason": "better"})
    assert [decision["reason"] for decision in registry.decisions("v1")] == ["not better", "better"]
    assert registry.versions() == ["v1"]


@pytest.mark.parametrize("name", ["", "Tissue", "a/b", "..", "-a", "a" * 64])
def test_names_are_checked(store: ObjectStore, name: str) -> None:
    with pytest.raises(InputError, match="model name"):
        ModelRegistry(store, name)


def test_a_damaged_file_is_found_when_it_is_fetched(
    registry: ModelRegistry, artifacts: list[Path], tmp_path: Path
) -> None:
    registry.publish(artifacts[0], {})
    registry.store.write_bytes("models/tissue/versions/v1/model/model.keras", b"other")
    with pytest.raises(AssayError, match="is not the file that was published as tissue v1"):
        registry.fetch("v1", tmp_path)


def test_a_damaged_record_is_one_line(registry: ModelRegistry) -> None:
    registry.store.write_bytes("models/tissue/champion.json", b"{")
    with pytest.raises(AssayError, match=r"champion\.json: not a change record") as caught:
        registry.champion()
    assert "\n" not in str(caught.value)


def test_an_incomplete_model_is_not_published(registry: ModelRegistry, artifacts: list[Path], tmp_path: Path) -> None:
    (tmp_path / "model.json").write_bytes((artifacts[0] / "model.json").read_bytes())
    with pytest.raises(InputError, match="not a whole model"):
        registry.publish(tmp_path, {})
    assert registry.store.list() == []


def kept(registry: ModelRegistry, model: Path, folder: Path) -> Path:
    """Return what is left of a copy of a model whose files are in the store."""
    shutil.copytree(model, folder)
    registry.keep(folder)
    return folder


def test_a_model_that_is_kept_before_it_is_a_version_lies_in_the_store_once(
    registry: ModelRegistry, artifacts: list[Path], tmp_path: Path
) -> None:
    left = kept(registry, artifacts[0], tmp_path / "best")
    assert sorted(path.name for path in left.iterdir()) == ["kept.json", "model.json"]
    assert registry.versions() == []
    version = registry.publish(left, {}).version
    folder = registry.fetch(version, tmp_path / "cache")
    for path in artifacts[0].rglob("*"):
        if path.is_file():
            assert (folder / path.relative_to(artifacts[0])).read_bytes() == path.read_bytes()
    names = [name.rsplit("/", 1)[-1] for name in registry.store.list()]
    assert (names.count("model.keras"), names.count("saved_model.pb")) == (1, 1)
    # The same model once more, from an evaluation of its own, is the version that it has.
    assert registry.publish(kept(registry, artifacts[0], tmp_path / "again"), {}).version == version


def test_a_kept_model_that_is_gone_or_another_is_not_published(
    registry: ModelRegistry, artifacts: list[Path], tmp_path: Path
) -> None:
    left = kept(registry, artifacts[0], tmp_path / "best")
    (weights,) = [name for name in registry.store.list() if name.endswith("/model.keras")]
    registry.store.delete(weights)
    with pytest.raises(DamagedError, match=r"model\.keras: is gone\. Run evaluate again"):
        registry.publish(left, {})
    other = kept(registry, artifacts[1], tmp_path / "other")
    shutil.copyfile(artifacts[2] / "model.json", other / "model.json")
    with pytest.raises(DamagedError, match="is not what was written"):
        registry.publish(other, {})
    (other / "kept.json").write_text("{")
    with pytest.raises(DamagedError, match="kept"):
        registry.publish(other, {})
    assert registry.versions() == []


@pytest.mark.parametrize("file", ["model.keras", "saved_model/fingerprint.pb"])
def test_a_model_that_was_damaged_on_its_way_is_not_published(
    registry: ModelRegistry, artifacts: list[Path], tmp_path: Path, file: str
) -> None:
    shutil.copytree(artifacts[0], tmp_path / "model")
    content = bytearray((tmp_path / "model" / file).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "model" / file).write_bytes(content)
    with pytest.raises(DamagedError, match=r"is not what model\.json says"):
        registry.publish(tmp_path / "model", {})
    assert registry.versions() == []


def test_the_second_fetch_comes_from_the_cache(gcs_root: str, artifacts: list[Path], tmp_path: Path) -> None:
    registry = ModelRegistry(open_store(gcs_root), "tissue")
    registry.publish(artifacts[0], {})
    first = registry.fetch("v1", tmp_path)
    registry.store.delete("models/tissue/versions/v1/model/model.keras")
    assert registry.fetch("v1", tmp_path) == first


def test_a_swap_whose_answer_is_lost_counts_as_done(faults: Any, gcs_root: str, artifacts: list[Path]) -> None:
    registry = ModelRegistry(open_store(gcs_root), "tissue")
    registry.publish(artifacts[0], {})
    registry.version("v1")

    class LosesTheSwap(ModelRegistry):
        def _swap(self, *arguments: Any) -> Any:
            faults.planned.append("lost")
            return super()._swap(*arguments)

    change = LosesTheSwap(registry.store, "tissue").set_champion("v1", None, reason="first")
    assert faults.done["lost"] == 1
    assert registry.history() == [change]


class Crash(BaseException):
    """The process dies."""


class CrashingStore(ObjectStore):
    """A real store that dies at its n-th writing operation, before or after carrying it out."""

    def __init__(self, store: ObjectStore, at: int, *, after: bool, kill: bool = False) -> None:
        super().__init__(store.root)
        self.store, self.left, self.after, self.kill = store, at, after, kill

    def _die(self) -> None:
        if self.kill:
            os.kill(os.getpid(), signal.SIGKILL)
        raise Crash

    def _writing(self, action: Any) -> Any:
        self.left -= 1
        if self.left == 0 and not self.after:
            self._die()
        result = action()
        if self.left == 0:
            self._die()
        return result

    def read(self, name: str) -> Versioned:
        return self.store.read(name)

    def write_bytes(self, name: str, data: bytes, *, if_generation: int | None = None) -> int:
        return self._writing(lambda: self.store.write_bytes(name, data, if_generation=if_generation))

    def exists(self, name: str) -> bool:
        return self.store.exists(name)

    def entries(self, prefix: str = "") -> Iterator[Stored]:
        return self.store.entries(prefix)

    def delete(self, name: str) -> None:
        self._writing(lambda: self.store.delete(name))

    def upload_file(self, path: Path, name: str) -> None:
        self._writing(lambda: self.store.upload_file(path, name))

    def download_file(self, name: str, path: Path) -> None:
        self.store.download_file(name, path)


def retrain(registry: ModelRegistry, folder: Path) -> None:
    version = registry.publish(folder, {"run": 2})
    champion = registry.champion()
    if champion is None or champion.version != version.version:
        registry.set_champion(version.version, champion, reason="better")


def assert_valid(registry: ModelRegistry, cache: Path) -> None:
    champion = registry.champion()
    assert champion is not None
    assert champion.version in registry.versions()
    history = registry.history()
    assert [change.sequence for change in history] == list(range(1, len(history) + 1))
    assert history[-1] == champion.change
    assert [change.previous for change in history] == [None, *(change.version for change in history[:-1])]
    for version in registry.versions():
        registry.fetch(version, cache)


@pytest.mark.parametrize("after", [False, True])
def test_a_crash_at_any_operation_leaves_a_valid_registry_that_the_next_run_completes(
    tmp_path: Path, artifacts: list[Path], after: bool
) -> None:
    operation, crashed = 0, True
    while crashed:
        operation += 1
        store = open_store(tmp_path / f"store{operation}")
        registry = ModelRegistry(store, "tissue")
        retrain(registry, artifacts[0])
        try:
            retrain(ModelRegistry(CrashingStore(store, operation, after=after), "tissue"), artifacts[1])
            crashed = False
        except Crash:
            assert_valid(registry, tmp_path)
        retrain(registry, artifacts[1])
        assert_valid(registry, tmp_path)
        assert registry.history()[0].version == "v1"
        assert registry.version(registry.resolve()).info == read_info(artifacts[1])
        retrain(registry, artifacts[2])
        assert_valid(registry, tmp_path)
        assert len(registry.history()) == 3
    assert operation > 8


KILLED = """
import importlib.util, sys
from pathlib import Path
from assay.storage.open import open_store
from assay.registry.versions import ModelRegistry
spec = importlib.util.spec_from_file_location("test_versions", sys.argv[1])
tests = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tests)
store = tests.CrashingStore(open_store(sys.argv[2]), int(sys.argv[4]), after=True, kill=True)
tests.retrain(ModelRegistry(store, "tissue"), Path(sys.argv[3]))
"""


@pytest.mark.parametrize("operation", [1, 4, 7])
def test_a_killed_process_leaves_a_valid_registry(
    root: str, artifacts: list[Path], tmp_path: Path, operation: int
) -> None:
    registry = ModelRegistry(open_store(root), "tissue")
    retrain(registry, artifacts[0])
    command = [sys.executable, "-c", KILLED, __file__, root, str(artifacts[1]), str(operation)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert_valid(registry, tmp_path)
    retrain(registry, artifacts[1])
    assert_valid(registry, tmp_path)
    assert registry.version(registry.resolve()).info == read_info(artifacts[1])


RACE = """
import sys
from pathlib import Path
from assay.storage.open import open_store
from assay.registry.versions import ChampionChanged, ModelRegistry
registry = ModelRegistry(open_store(sys.argv[1]), "tissue")
seen = registry.champion()
version = registry.publish(Path(sys.argv[2]), {}).version
print("ready", flush=True)
sys.stdin.readline()
try:
    registry.set_champion(version, seen, reason="better")
    print("won", version)
except ChampionChanged:
    print("lost", version)
"""


def test_of_two_processes_that_promote_at_once_exactly_one_wins_and_no_version_is_lost(
    root: str, artifacts: list[Path], tmp_path: Path
) -> None:
    registry = ModelRegistry(open_store(root), "tissue")
    retrain(registry, artifacts[0])
    results = dict(text.split() for text in start_together(RACE, [[root, str(folder)] for folder in artifacts[1:]]))
    assert sorted(results) == ["lost", "won"]
    assert registry.resolve() == results["won"]
    assert registry.versions() == ["v1", "v2", "v3"]
    assert len(registry.history()) == 2
    assert_valid(registry, tmp_path)


PUBLISH = """
import sys
from pathlib import Path
from assay.registry.versions import ModelRegistry
from assay.storage.open import open_store
registry = ModelRegistry(open_store(sys.argv[1]), "tissue")
print("ready", flush=True)
sys.stdin.readline()
print(registry.publish(Path(sys.argv[2]), {}).version)
"""


def start_together(code: str, arguments: list[list[str]]) -> list[str]:
    """Return what processes print that are held until all of them are ready."""
    racers = [
        subprocess.Popen([sys.executable, "-c", code, *each], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for each in arguments
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    return [racer.communicate()[0] for racer in racers]


def test_one_model_published_by_several_processes_at_once_is_one_version(
    root: str, artifacts: list[Path], tmp_path: Path
) -> None:
    said = start_together(PUBLISH, [[root, str(artifacts[0])]] * 4)
    registry = ModelRegistry(open_store(root), "tissue")
    assert [text.strip() for text in said] == registry.versions() * 4
    (version,) = registry.versions()
    assert registry.fetch(version, tmp_path / "cache").is_dir()
    # The others left no files of theirs behind.
    names = registry.store.list("models/tissue/versions")
    assert {name.split("/")[3] for name in names if not name.endswith("/claim.json")} == {version}


def test_a_version_whose_publisher_died_at_the_last_step_is_finished_by_the_next(
    registry: ModelRegistry, artifacts: list[Path], tmp_path: Path
) -> None:
    first = registry.publish(artifacts[0], {"test_auc": 0.9})
    registry.store.delete("models/tissue/versions/v1/version.json")
    assert registry.versions() == []
    assert registry.publish(artifacts[0], {"test_auc": 0.8}) == first
    assert registry.version("v1") == first


def test_every_challenger_of_a_champion_is_a_look_and_the_same_one_again_is_not(store: ObjectStore) -> None:
    registry = ModelRegistry(store, "tissue")
    assert [registry.look("v1", f"v{number}", "test") for number in (2, 3, 4)] == [1, 2, 3]
    assert registry.look("v1", "v3", "test") == 2
    assert registry.look("v1", "v3", "another test split") == 4
    # What is not kept is counted and leaves nothing behind.
    assert registry.look("v1", "", "test") == registry.look("v1", "", "test") == 5
    assert registry.look("v2", "v3", "test") == 1
    assert registry.looks() == ["test", "test", "test", "another test split", "test"]


def test_challengers_at_the_same_time_are_looks_of_their_own(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, listed = ModelRegistry(store, "tissue"), store.list
    together, this = threading.Barrier(3), threading.local()

    def list_together(prefix: str = "") -> list[str]:
        found = listed(prefix)
        if not hasattr(this, "waited"):
            this.waited = True
            together.wait(60)
        return found

    with monkeypatch.context() as patch, ThreadPoolExecutor(3) as pool:
        patch.setattr(store, "list", list_together)
        first, second, again = pool.map(lambda challenger: registry.look("v1", challenger, "test"), ("v2", "v3", "v3"))
    assert {first, second} == {1, 2}
    assert again == second
    assert registry.looks() == ["test", "test"]


def test_a_look_whose_answer_is_lost_is_one_look(faults: Any, gcs_root: str) -> None:
    registry = ModelRegistry(open_store(gcs_root), "tissue")
    registry.look("v1", "v2", "test")
    faults.planned.extend(["slow", "slow", "lost"])  # the list, what is read, and the claim
    assert registry.look("v1", "v3", "test") == 2
    assert faults.done["lost"] == 1
    assert len(registry.looks()) == 2
