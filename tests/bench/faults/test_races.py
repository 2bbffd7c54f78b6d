"""A champion that many change at a time: what they saw can have been so, and the check tells where it cannot."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.storage.local import LocalStore
from bench.faults.proxy import FaultProxy
from bench.faults.races import Operation, linearizable, race


def read(call: int, back: int, value: str | None) -> Operation:
    return Operation(call, back, "read", None, value)


def swap(call: int, back: int, expected: str | None, value: str, *, done: bool = True) -> Operation:
    return Operation(call, back, "swapped" if done else "refused", expected, value)


@pytest.mark.parametrize(
    ("history", "possible"),
    [
        ([], True),
        ([read(0, 1, None), swap(2, 3, None, "a"), read(4, 5, "a")], True),
        ([swap(0, 9, None, "a"), read(1, 2, "a"), read(3, 4, "a")], True),
        ([swap(0, 9, None, "a"), read(1, 2, "a"), read(3, 4, None)], False),  # seen, and then not any more
        ([swap(0, 1, None, "a"), read(2, 3, None)], False),  # a swap that was done and is not seen
        ([read(0, 1, "a"), swap(2, 3, None, "a")], False),  # seen before it was begun
        ([swap(0, 5, None, "a"), swap(1, 4, None, "b")], False),  # two that follow the same
        ([swap(0, 5, None, "a"), swap(1, 4, None, "b", done=False)], True),
        ([swap(0, 1, None, "a", done=False)], False),  # refused although nothing had changed
        ([swap(0, 1, None, "a"), swap(0, 9, "a", "b"), swap(0, 9, "b", "c"), read(5, 6, "b")], True),
    ],
)
def test_a_history_is_possible_or_not(history: list[Operation], possible: bool) -> None:
    assert linearizable(history) is possible


def brute(history: list[Operation]) -> bool:
    def right(order: tuple[Operation, ...]) -> bool:
        state = None
        for place, operation in enumerate(order):
            if not operation.fits(state) or any(later.back < operation.call for later in order[place + 1 :]):
                return False
            state = operation.value if operation.kind == "swapped" else state
        return True

    return any(right(order) for order in itertools.permutations(history))


VALUES = st.sampled_from([None, "a", "b"])
OPERATIONS = st.builds(
    lambda call, long, kind, expected, value: Operation(call, call + long, kind, expected, value),
    st.integers(0, 6),
    st.integers(0, 6),
    st.sampled_from(["read", "swapped", "refused"]),
    VALUES,
    VALUES,
)


@given(st.lists(OPERATIONS, max_size=5))
def test_the_search_finds_what_trying_all_orders_finds(history: list[Operation]) -> None:
    assert linearizable(history) is brute(history)


def test_processes_that_contend_for_a_champion_see_one_order(tmp_path: Path) -> None:
    result = race(str(tmp_path / "store"), tmp_path, processes=6, swaps=4)
    assert result.linearizable
    assert result.recorded
    assert result.swapped > 0
    assert result.operations == 48


def test_the_same_in_a_bucket_behind_faults(
    gcs_server: str, gcs_root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assay.storage.gcs.FIRST_WAIT_SECONDS", 0.01)
    with FaultProxy(gcs_server, share=0.05) as proxy:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        result = race(gcs_root, tmp_path, processes=3, swaps=3)
        assert result.linearizable
        assert result.recorded


def test_a_store_that_ignores_the_condition_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install = LocalStore._install
    monkeypatch.setattr(LocalStore, "_install", lambda self, stage, name, _: install(self, stage, name, None))
    result = race(str(tmp_path / "store"), tmp_path, processes=6, swaps=4)
    assert not (result.linearizable and result.recorded)
