"""Atomic writing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deepcadence.schedules import write_atomically


def test_text_and_bytes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, "a\r\nü")
    assert path.read_bytes() == b"a\r\n\xc3\xbc"
    write_atomically(str(path), b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, "old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name == "nt", reason="POSIX modes and links")
def test_modes_and_links_are_kept(tmp_path: Path) -> None:
    path, link = tmp_path / "file", tmp_path / "link"
    write_atomically(path, "old")
    path.chmod(0o640)
    link.symlink_to(path)
    write_atomically(link, "new")
    assert link.is_symlink()
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match=f"cannot write {str(tmp_path)!r}: it is a folder; give the name of a"):
        write_atomically(tmp_path, "text")
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "none" / "file", "text")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX pipes")
def test_pipes_and_devices_are_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, Path(os.devnull)):
        with pytest.raises(FileExistsError, match="it is a device or a pipe; give the name of a file"):
            write_atomically(path, "text")
    assert pipe.is_fifo()


@pytest.mark.parametrize("name", ["n" * 255, "é" * 127, "漢" * 85])
def test_the_longest_name_that_there_is(tmp_path: Path, name: str) -> None:
    write_atomically(tmp_path / name, "text")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["text"]


def test_what_others_may_not_read_they_never_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret"
    path.touch(mode=0o600)
    seen = []
    monkeypatch.setattr(os, "fsync", lambda number: seen.append(os.fstat(number).st_mode & 0o777))
    write_atomically(path, "text")
    assert seen == [0o600]
