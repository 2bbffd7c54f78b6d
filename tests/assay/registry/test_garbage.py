"""What can go from a store and from the caches: never what serves, served, or is young."""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path

import pytest

from assay.errors import AssayError
from assay.models.artifact import copy_model, update_info
from assay.registry.garbage import Leftover, find_cached, find_leftovers
from assay.registry.versions import ModelRegistry
from assay.storage.local import LocalStore
from assay.storage.objects import ObjectStore
from assay.training.lease import hold_lease

DAY = 86_400.0


def later(days: float = 40) -> float:
    return time.time() + days * DAY


def publish(registry: ModelRegistry, model: Path, snapshot: str) -> str:
    return registry.publish(model, {"snapshot_fingerprint": snapshot}).version


def places(found: list[Leftover], store: ObjectStore) -> set[str]:
    return {one.place.removeprefix(f"{store.root}/") for one in found}


def test_what_was_never_champion_goes_with_the_snapshots_that_only_it_was_made_of(
    store: ObjectStore, artifacts: list[Path]
) -> None:
    registry = ModelRegistry(store, "tiny")
    for model, snapshot in zip(artifacts, ("aa", "bb", "cc"), strict=True):
        publish(registry, model, snapshot)
        store.write_bytes(f"snapshots/{snapshot}/snapshot.json", b"{}")
        store.write_bytes(f"snapshots/{snapshot}/records.parquet", b"rows")
    store.write_bytes("checkpoints/0123/fit.npz", b"half a training")
    store.write_bytes("folds/4567/model.keras", b"a fold")
    registry.set_champion("v1", None, reason="the first")
    registry.set_champion("v2", registry.champion(), reason="better")
    registry.record_decision("v3", {"reason": "not better"})

    assert find_leftovers(store, 30) == []
    found = find_leftovers(store, 30, later())
    assert places(found, store) == {"models/tiny/versions/v3", "snapshots/cc", "checkpoints/0123", "folds/4567"}
    assert all(39 < one.age_days < 41 for one in found)
    assert next(one.size for one in found if one.kind == "checkpoints") == len(b"half a training")
    for one in found:
        one.remove()
    assert find_leftovers(store, 30, later()) == []
    assert registry.versions() == ["v1", "v2"]
    assert registry.rollback() == "v1"
    # Its number is not given to another model, and what was decided about it stays.
    assert [decision["reason"] for decision in registry.decisions("v3")] == ["not better"]
    assert publish(registry, artifacts[2], "cc") == "v4"


def test_the_rest_of_an_upload_that_broke_off_goes_and_its_number_stays_taken(
    store: ObjectStore, artifacts: list[Path]
) -> None:
    registry = ModelRegistry(store, "tiny")
    publish(registry, artifacts[1], "aa")
    store.delete("models/tiny/versions/v1/version.json")
    (one,) = find_leftovers(store, 30, later())
    assert (one.kind, one.why) == ("version", "its upload was never finished")
    one.remove()
    assert find_leftovers(store, 30, later()) == []
    assert publish(registry, artifacts[0], "aa") == "v2"
    # Nor is it taken for the version that it never became, which has no files any more.
    assert publish(registry, artifacts[1], "aa") == "v3"


def test_files_of_a_number_that_was_claimed_and_no_more_go(store: ObjectStore, artifacts: list[Path]) -> None:
    registry = ModelRegistry(store, "tiny")
    for name in ("v1/claim.json", "v1/model/model.keras", "v1/report/metrics.json", "v2/claim.json"):
        store.write_bytes(f"models/tiny/versions/{name}", b"{}")
    assert find_leftovers(store, 30) == []
    (one,) = find_leftovers(store, 30, later())
    assert (one.why, one.size) == ("its upload was never finished", 4)
    one.remove()
    assert find_leftovers(store, 30, later()) == []
    assert store.list() == ["models/tiny/versions/v1/claim.json", "models/tiny/versions/v2/claim.json"]
    assert publish(registry, artifacts[0], "aa") == "v3"


def test_kept_models_go_that_became_no_version_and_with_the_version_that_they_became(
    store: ObjectStore, artifacts: list[Path], tmp_path: Path
) -> None:
    registry = ModelRegistry(store, "tiny")
    for index, model in enumerate(artifacts):
        shutil.copytree(model, tmp_path / str(index))
        registry.keep(tmp_path / str(index))
    for index in (0, 1):
        registry.publish(tmp_path / str(index), {})
    registry.set_champion("v1", None, reason="the first")
    found = find_leftovers(store, 30, later())
    assert sorted((one.kind, one.why) for one in found) == [
        ("model", "it became no version"),
        ("version", "never champion"),
    ]
    for one in found:
        assert one.size > 10_000, "with the weights"
        one.remove()
    assert find_leftovers(store, 30, later()) == []
    assert registry.fetch("v1", tmp_path / "cache").is_dir()
    assert len([name for name in store.list() if name.endswith("model.keras")]) == 1


def test_checkpoints_that_a_training_holds_stay_whatever_their_age(store: ObjectStore) -> None:
    store.write_bytes("checkpoints/0123/fit.npz", b"half a training")
    (one,) = find_leftovers(store, 30, later())
    with hold_lease(store.uri("checkpoints/0123")):
        with pytest.raises(AssayError, match="a training holds these checkpoints now"):
            one.remove()
        assert store.exists("checkpoints/0123/fit.npz")
    one.remove()
    assert store.list("checkpoints") == []


def test_a_version_that_becomes_champion_after_the_look_stays(tmp_path: Path, artifacts: list[Path]) -> None:
    store = LocalStore(tmp_path / "store")
    registry = ModelRegistry(store, "tiny")
    publish(registry, artifacts[0], "aa")
    (one,) = find_leftovers(store, 30, later())
    registry.set_champion("v1", None, reason="the first")
    with pytest.raises(AssayError, match="has become champion meanwhile"):
        one.remove()
    assert registry.fetch("v1", tmp_path / "cache").is_dir()


def test_nothing_is_named_where_a_record_is_damaged(tmp_path: Path, artifacts: list[Path]) -> None:
    store = LocalStore(tmp_path)
    registry = ModelRegistry(store, "tiny")
    for model in artifacts[:2]:
        publish(registry, model, "aa")
    registry.set_champion("v1", None, reason="the first")
    (tmp_path / "models" / "tiny" / "champion.json").write_text("{", encoding="utf-8")
    with pytest.raises(AssayError, match=r"champion\.json"):
        find_leftovers(store, 30, later())


@pytest.mark.parametrize("seed", range(5))
def test_whatever_was_done_before_all_that_ever_served_can_serve_again(
    seed: int, tmp_path: Path, artifacts: list[Path]
) -> None:
    chance = random.Random(seed)
    store = LocalStore(tmp_path / "store")
    registry = ModelRegistry(store, "tiny")
    served: set[str] = set()
    for number in range(8):
        model = copied(artifacts[0], tmp_path / f"model{number}", threshold=0.05 * (number + 1))
        version = publish(registry, model, f"{chance.randrange(3)}")
        champion = registry.champion()
        if chance.random() < 0.4:
            registry.set_champion(version, champion, reason="better")
            served.add(version)
        elif champion is not None and served - {champion.version}:
            registry.rollback(chance.choice(sorted(served - {champion.version})))
    champion = registry.champion()
    for one in find_leftovers(store, 30, later()):
        one.remove()
    assert set(registry.versions()) == served
    assert registry.champion() == champion
    for version in served:
        assert registry.fetch(version, tmp_path / "cache").is_dir()


def copied(source: Path, folder: Path, threshold: float) -> Path:
    copy_model(source, folder)
    update_info(folder, threshold=threshold)
    return folder


def test_caches_go_by_when_they_were_last_used_and_weights_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path))
    for name in ("features/old.npy", "features/new.npy", "models/x/v1/model.keras", "weights/vgg16.h5"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345678")
    for path in [*tmp_path.rglob("*")]:
        if path.name != "new.npy":
            os.utime(path, (time.time() - 50 * DAY,) * 2)
    found = find_cached(30)
    assert {Path(one.place).relative_to(tmp_path).as_posix() for one in found} == {"features/old.npy", "models/x"}
    for one in found:
        one.remove()
    assert find_cached(30) == []
    assert (tmp_path / "features" / "new.npy").exists()
    assert (tmp_path / "weights" / "vgg16.h5").exists()
