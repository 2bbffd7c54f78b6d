"""Walking a local folder: links, permissions and strange names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from assay.data.sources.tree import LocalTree
from assay.errors import InputError


def write(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def test_names_are_relative_and_sorted_and_hidden_ones_passed_over(tmp_path: Path) -> None:
    for name in ("b/2.png", "b/1.png", "a/1.png", "a/.hidden.png", ".git/x", "__MACOSX/a/1.png", "a/Thumbs.db"):
        write(tmp_path / name)
    tree = LocalTree(tmp_path)
    assert tree.files() == (["a/1.png", "b/1.png", "b/2.png"], [])
    assert tree.read("b/1.png") == b"x"


def test_links_inside_are_followed_and_links_outside_set_aside(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside" / "secret.png")
    root = tmp_path / "source"
    inside = write(root / "a" / "1.png")
    (root / "b").mkdir()
    (root / "b" / "inside.png").symlink_to(inside)
    (root / "b" / "relative.png").symlink_to("../a/1.png")
    (root / "c").symlink_to(root / "a")
    (root / "b" / "outside.png").symlink_to(outside)
    (root / "d").symlink_to(outside.parent)
    (root / "b" / "dangling.png").symlink_to("nowhere.png")
    (root / "a" / "up").symlink_to("..")
    names, rejected = LocalTree(root).files()
    assert names == ["a/1.png", "b/inside.png", "b/relative.png", "c/1.png"]
    reasons = {Path(one.uri).relative_to(root).as_posix(): one.reason for one in rejected}
    assert reasons == {
        "b/outside.png": "a symbolic link out of the source",
        "d": "a symbolic link out of the source",
        "b/dangling.png": "a symbolic link to nothing",
        "a/up": "a symbolic link to a folder that holds it",
        "c/up": "a symbolic link to a folder that holds it",
    }


def test_a_sibling_whose_name_begins_alike_is_outside(tmp_path: Path) -> None:
    write(tmp_path / "source" / "a.png")
    (tmp_path / "source" / "b.png").symlink_to(write(tmp_path / "source-2" / "b.png"))
    assert [one.reason for one in LocalTree(tmp_path / "source").files()[1]] == ["a symbolic link out of the source"]


def test_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    write(tmp_path / "real" / "a.png")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert LocalTree(tmp_path / "link").files() == (["a.png"], [])


def test_pipes_and_names_that_cannot_be_written_are_set_aside_unopened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    write(tmp_path / "two\nlines.png")
    write(tmp_path / 'größe, "a\'b".png')
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")).write_bytes(b"x")
    names, rejected = LocalTree(tmp_path).files()
    assert names == ['größe, "a\'b".png']
    assert sorted((Path(one.uri).name, one.reason) for one in rejected) == [
        ("caf\\udce9.png", "control characters or invalid UTF-8 in the file name; rename it"),
        ("pipe.png", "neither a file nor a folder"),
        ("two\\nlines.png", "control characters or invalid UTF-8 in the file name; rename it"),
    ]


def test_a_missing_folder_and_a_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="missing: there is no such folder"):
        LocalTree(tmp_path / "missing")
    file = write(tmp_path / "labels.csv")
    with pytest.raises(InputError, match=f"labels.csv: is a file. Name the folder that holds it: {tmp_path}"):
        LocalTree(file)


@pytest.mark.parametrize("locked", ["source", "source/b"])
def test_a_folder_without_permission_is_refused(tmp_path: Path, locked: str) -> None:
    write(tmp_path / "source" / "a" / "1.png")
    write(tmp_path / "source" / "b" / "1.png")
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.getuid() and folder != Path("/tmp"):
            folder.chmod(0o755)
    (tmp_path / locked).chmod(0)
    # Root may read anything: another user looks.
    code = (
        "import os, sys, pathlib\n"
        "from assay.data.sources.tree import LocalTree\n"
        "if os.getuid() == 0: os.seteuid(65534)\n"
        "try: LocalTree(pathlib.Path(sys.argv[1])).files()\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "source"], capture_output=True, text=True, check=True)
    (tmp_path / locked).chmod(0o755)
    assert done.stdout == (
        f"InputError {tmp_path / locked}: no permission to read this folder. Change its mode or run as its owner.\n"
    )


def test_folders_in_which_nothing_lies_are_found_at_two_levels(tmp_path: Path) -> None:
    for folder in ("a", "train/b", "train/c/deeper/still", "empty/of/all", ".hidden", "@eaDir"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "train" / "c" / "deeper" / "1.png").write_bytes(b"-")
    (tmp_path / "a" / ".DS_Store").write_bytes(b"-")
    assert LocalTree(tmp_path).empty_folders() == ["a", "empty", "empty/of", "train/b"]
