"""Output files are written atomically, and replace only a file of their own kind."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

from deepcadence.schedules import DeepcadenceError

_HEAD_BYTES = 1 << 20
_made: list[Path] = []


class Kind(StrEnum):
    """What a file is, and how one of ours begins."""

    schedule = "schedule"
    profile = "profile"
    report = "report"
    deepcache = "setting of DeepCache"
    cache_dit = "configuration of cache-dit"
    smoothcache = "schedule of SmoothCache"

    def begins(self, head: bytes) -> bool:
        """Whether a file with this beginning is one: in the format of its kind, and with the words that we write."""
        start, mark = {
            Kind.schedule: (rb"\s*\{", rb'"format"\s*:\s*"deepcadence/schedule"'),
            Kind.profile: (rb".{8}\{", rb'\\"format\\"\s*:\s*\\"deepcadence/profile\\"'),
            Kind.report: (rb"<!doctype html>", rb'<meta name="generator" content="deepcadence'),
            Kind.deepcache: (rb"\s*\{", rb'"cache_branch_id"\s*:'),
            Kind.cache_dit: (rb"\s*\{", rb'"steps_computation_mask"\s*:'),
            Kind.smoothcache: (rb"\s*\{", rb'"attn1"\s*:'),
        }[self]
        return bool(re.match(start, head, re.DOTALL) and re.search(mark, head))


class OutputError(DeepcadenceError, FileExistsError):
    """An output path that cannot be used, found before the work begins."""


def check_output(path: Path, kind: Kind) -> Path:
    """`path`, once it is known that a `kind` can be written there.

    Called before the work, so that hours of it do not end in an error.

    Raises:
        OutputError: `path` is a folder, a device or a file that is not a `kind`, or its folder cannot be written to.
    """
    if path.is_dir():
        raise OutputError(f"{path} is a folder: give the name of a {kind} file in it")
    if path.exists() and not path.is_file():
        raise OutputError(f"{path} is a device or a pipe, not a file: give the name of a {kind} file")
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
        head = file.read(_HEAD_BYTES)
    return not head or kind.begins(head)
