"""Files of arrays: exact, and no damage to them goes unnoticed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.storage.arrays import DamagedFile, load_arrays, save_arrays
from assay.storage.files import ObjectNotFound

ARRAYS = {
    "model/0": np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32),
    "step": np.asarray(41),
    "empty": np.zeros((0, 2), np.uint8),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("arrays") / "file.npz"
    save_arrays(path, ARRAYS)
    return path.read_bytes()


def test_what_is_loaded_is_what_was_saved(tmp_path: Path, whole: bytes) -> None:
    (tmp_path / "file.npz").write_bytes(whole)
    loaded = load_arrays(tmp_path / "file.npz")
    assert loaded.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert loaded[name].dtype == array.dtype
        np.testing.assert_array_equal(loaded[name], array)


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_no_flipped_bit_goes_unnoticed(
    tmp_path_factory: pytest.TempPathFactory, whole: bytes, place: float, bit: int
) -> None:
    damaged = bytearray(whole)
    damaged[int(place * len(whole))] ^= 1 << bit
    path = tmp_path_factory.mktemp("flipped") / "file.npz"
    path.write_bytes(damaged)
    with pytest.raises(DamagedFile, match=r"file\.npz: "):
        load_arrays(path)


@given(length=st.floats(0, 1, exclude_max=True), more=st.binary(max_size=9))
def test_no_missing_or_added_bytes_go_unnoticed(
    tmp_path_factory: pytest.TempPathFactory, whole: bytes, length: float, more: bytes
) -> None:
    path = tmp_path_factory.mktemp("cut") / "file.npz"
    path.write_bytes(whole[: int(length * len(whole))] + more)
    with pytest.raises(DamagedFile):
        load_arrays(path)


def test_a_file_that_is_not_there_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(ObjectNotFound):
        load_arrays(tmp_path / "absent.npz")
