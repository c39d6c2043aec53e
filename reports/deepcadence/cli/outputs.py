"""Output files are written atomically, and replace only a file of their own kind."""

from __future__ import annotations

import os
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

from deepcadence.schedules import DeepcadenceError

_HEAD_BYTES = 1 << 20
_made: list[Path] = []


class Kind(StrEnum):
    """What a file is, and the text that gives it away near its beginning."""

    schedule = "schedule"
    profile = "profile"
    report = "report"
    deepcache = "setting of DeepCache"
    cache_dit = "configuration of cache-dit"
    smoothcache = "schedule of SmoothCache"

    @property
    def mark(self) -> bytes:
        return {
            Kind.schedule: b'"deepcadence/schedule"',
            Kind.profile: b"deepcadence",
            Kind.report: b'<meta name="generator" content="deepcadence',
            Kind.deepcache: b'"cache_branch_id"',
            Kind.cache_dit: b'"steps_computation_mask"',
            Kind.smoothcache: b'"attn1"',
        }[self]


class OutputError(DeepcadenceError, FileExistsError):
    """An output path that cannot be used, found before the work begins."""


def check_output(path: Path, kind: Kind) -> Path:
    """`path`, once it is known that a `kind` can be written there.

    Called before the work, so that hours of it do not end in an error.

    Raises:
        OutputError: `path` is a folder, or a file that is not a `kind`, or its folder cannot be written to.
    """
    if path.is_dir():
        raise OutputError(f"{path} is a folder: give the name of a {kind} file in it")
    if path.exists() and not _is(path, kind):
        raise OutputError(f"{path} exists and is not a {kind}, so it is left alone: choose another name or remove it")
    check_folder(path.parent)
    return path


def check_folder(folder: Path) -> Path:
    """`folder`, made if need be.

    Raises:
        OutputError: it is a file, or cannot be made or written to.
    """
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}: {error.strerror}") from None
    if not os.access(folder, os.W_OK):
        raise OutputError(f"cannot write to the folder {folder}: choose another with -o")
    _made.extend(missing)
    return folder


def keep_folders() -> None:
    """Forget which folders were made: those made until now stay."""
    _made.clear()


def remove_empty_folders() -> None:
    """Remove the folders that were made for output, where none came."""
    for folder in _made:
        with suppress(OSError):  # it holds something
            folder.rmdir()
    _made.clear()


def _is(path: Path, kind: Kind) -> bool:
    with path.open("rb") as file:
        return kind.mark in file.read(_HEAD_BYTES) or path.stat().st_size == 0
