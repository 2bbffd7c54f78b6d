"""Files that appear whole or not at all, and damaged ones that are told in one line whatever their reader raises."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.errors import AssayError, InputError
from assay.storage.files import disk_errors, held, held_stage, new_file, new_folder, read_errors


def npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.arange(12, dtype=np.float32).reshape(3, 4))
    return buffer.getvalue()


def npz() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, images=np.arange(4, dtype=np.uint64), groups=np.arange(2, dtype=np.uint64))
    return buffer.getvalue()


def parquet() -> bytes:
    buffer = io.BytesIO()
    pd.DataFrame({"id": ["a", "b"], "size": [1, 2]}).to_parquet(buffer)
    return buffer.getvalue()


def read_arrays(data: bytes) -> None:
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        for name in arrays.files:
            arrays[name]


READERS: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
    "npy": (npy(), lambda data: np.load(io.BytesIO(data), allow_pickle=False)),
    "npz": (npz(), read_arrays),
    "parquet": (parquet(), lambda data: pd.read_parquet(io.BytesIO(data))),
}


@given(st.sampled_from(sorted(READERS)), st.integers(0, 400), st.binary(min_size=1, max_size=4), st.booleans())
def test_a_damaged_file_is_read_or_told_in_one_line(kind: str, place: int, put: bytes, cut: bool) -> None:
    data, read = READERS[kind]
    damaged = data[:place] if cut else data[:place] + put + data[place + len(put) :]
    try:
        with read_errors(f"file.{kind}", "Write it again."):
            read(damaged)
    except InputError as error:
        assert str(error).startswith(f"file.{kind}: cannot be read (")
        assert str(error).endswith("Write it again.")
        assert "\n" not in str(error)


def test_an_error_that_says_what_is_wrong_is_left_as_it_is() -> None:
    with pytest.raises(AssayError, match="the disk is full"), read_errors("x", "Try again."):
        raise AssayError("the disk is full")


def test_what_fails_leaves_nothing_behind(tmp_path) -> None:
    with pytest.raises(ZeroDivisionError), new_file(tmp_path / "a" / "file") as stage:
        stage.write_text("half")
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "a" / "folder") as stage:
        (stage / "file").write_text("half")
        raise ZeroDivisionError
    assert list((tmp_path / "a").iterdir()) == []


@pytest.mark.parametrize("directory", [False, True])
def test_a_stage_takes_what_killed_ones_left_and_not_what_is_held(tmp_path, directory: bool) -> None:
    (tmp_path / "tmp-left").mkdir()
    (tmp_path / "tmp-left" / "half").write_text("half")
    (tmp_path / "tmp-alone").write_text("half")
    (tmp_path / "another").write_text("not a stage")
    with held_stage(tmp_path, "tmp", directory=directory) as first:
        assert first.is_dir() == directory
        with held_stage(tmp_path, "tmp", directory=directory) as second:
            assert {path.name for path in tmp_path.iterdir()} == {first.name, second.name, "another"}
    assert [path.name for path in tmp_path.iterdir()] == ["another"]


def test_a_lock_is_held_by_one_at_a_time(tmp_path) -> None:
    with held(tmp_path) as first, held(tmp_path, wait=False) as second:
        assert (first, second) == (True, False)
    with held(tmp_path, wait=False) as third, held(tmp_path / "absent") as absent:
        assert (third, absent) == (True, False)


def test_a_place_where_nothing_can_be_written_is_named(tmp_path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(AssayError, match="file"), disk_errors(tmp_path / "file" / "below"):
        (tmp_path / "file" / "below").write_text("x")
