"""Files appear whole or not at all, under the name and with the permissions that the user expects."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kinema.formats.files import atomic_write


def write(path: Path, text: str) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(text)


def test_a_file_replaces_the_old_one_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "x.txt"
    write(path, "old")

    def interrupted() -> None:
        with atomic_write(path) as temporary:
            temporary.write_text("ne")
            assert temporary.suffix == ".txt"
            assert path.read_text() == "old"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [entry.read_text() for entry in path.parent.iterdir()] == ["old"]
    write(path, "new")
    assert [entry.read_text() for entry in path.parent.iterdir()] == ["new"]


@pytest.mark.parametrize("name", ["a b ü 歩.txt", "n" * 251 + ".txt", "é" * 125 + ".txt", ".hidden", "no ending"])
def test_any_name_that_a_file_can_have(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, "x")
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_permissions_are_those_of_any_new_file(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write(tmp_path / "x", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o666 & ~mask


def test_errors_name_the_file_that_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        write(tmp_path / "folder.txt", "x")
    assert caught.value.filename == str(tmp_path / "folder.txt")
    assert os.listdir(tmp_path) == ["folder.txt"]
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match="file") as parent:
        write(tmp_path / "file" / "x", "x")
    assert parent.value.filename == str(tmp_path / "file")


def test_relative_paths_and_linked_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    write(Path("link/x.txt"), "x")
    write(Path("y.txt"), "y")
    assert (tmp_path / "real" / "x.txt").read_text() == "x"
    assert (tmp_path / "y.txt").read_text() == "y"
