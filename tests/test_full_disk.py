"""Disks that are full and folders that may not be written: one sentence, and nothing half-written."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from deepcadence.cli import command
from deepcadence.probe import Profile
from deepcadence.schedules import uniform, write_atomically
from deepcadence.search import SearchError, run_study
from tests.cli.conftest import Invoke
from tests.cli.conftest import invoke as invoke  # a fixture
from tests.reports import records
from tests.search.worker import SMALL, workload

KIB = 96
FULL = {errno.ENOSPC: "No space left on device", errno.EFBIG: "File too large"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder for 96 KiB: a file system in memory where one can be mounted, else a limit to the size of files."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={KIB}k", "tmpfs", str(folder)]
    if os.geteuid() == 0 and subprocess.run(mount, capture_output=True, check=False).returncode == 0:
        yield folder
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        return
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (KIB * 1024, before[1]))
    yield folder
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder with a schedule that nobody may write to, not even root."""
    folder = tmp_path / "read-only"
    folder.mkdir()
    uniform(4, 2, 0).save(folder / "schedule.json")
    if os.geteuid() != 0:
        folder.chmod(0o555)
        yield folder
        folder.chmod(0o755)
        return
    bind = ["mount", "--bind", str(folder), str(folder)]
    again = ["mount", "-o", "remount,ro,bind", str(folder)]
    if any(subprocess.run(words, capture_output=True, check=False).returncode for words in (bind, again)):
        pytest.skip("root may write everywhere, and nothing can be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_file_that_does_not_fit_leaves_the_old_one(small_disk: Path) -> None:
    path = small_disk / "file"
    write_atomically(path, "old")
    with pytest.raises(OSError, match=r"/file") as caught:
        write_atomically(path, b"x" * 1024 * (KIB + 1))
    assert caught.value.errno in FULL
    assert path.read_text() == "old"
    assert list(small_disk.iterdir()) == [path]
    assert command.error_sentence(caught.value) == f"{FULL[caught.value.errno]}: {path}"


def test_a_profile_that_does_not_fit(small_disk: Path) -> None:
    path = small_disk / "profile.safetensors"
    records.profile(calls=6).save(path)
    old = path.read_bytes()
    with pytest.raises(OSError, match=r"profile\.safetensors"):
        records.profile(calls=60).save(path)
    assert path.read_bytes() == old
    assert Profile.load(path).num_calls == 6
    assert list(small_disk.iterdir()) == [path]


def test_a_study_on_a_full_disk_says_so(small_disk: Path) -> None:
    with pytest.raises(SearchError, match=r"study\.db: cannot open the storage|the database of study") as caught:
        run_study(workload(), storage=small_disk / "study.db", trials=30, **SMALL)
    assert "\n" not in str(caught.value)
    assert "full" in str(caught.value) or "disk I/O error" in str(caught.value)


def test_a_read_only_folder_is_one_sentence(read_only: Path, invoke: Invoke) -> None:
    old = (read_only / "schedule.json").read_bytes()
    result = invoke("schedule", "new", "--calls", "9", "--interval", "3", "-o", read_only / "schedule.json")
    assert result.exit_code == 1
    assert result.stderr == f"error: cannot write to the folder {read_only}: choose another with -o\n"
    assert (read_only / "schedule.json").read_bytes() == old
    with pytest.raises(OSError, match=r"schedule\.json"):
        uniform(9, 3, 0).save(read_only / "schedule.json")
    with pytest.raises(SearchError, match=r"study\.db: cannot open the storage") as caught:
        run_study(workload(), storage=read_only / "study.db", trials=1, **SMALL)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("when", ["write", "fsync", "replace"])
def test_an_error_at_any_moment_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    path = tmp_path / "file"
    write_atomically(path, "old")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if when == "write":
        monkeypatch.setattr(Path, "open", full)
    elif when == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    else:
        monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*/file'"):
        write_atomically(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
