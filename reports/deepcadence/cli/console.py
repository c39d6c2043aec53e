"""Where the commands print: results to stdout, everything else to stderr. Rich respects NO_COLOR."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from rich.console import Console

_quiet: ContextVar[bool] = ContextVar("quiet", default=False)


def stdout() -> Console:
    """For results. Made anew for each use, so that redirection and NO_COLOR are seen."""
    return Console(highlight=False)


def stderr() -> Console:
    """For progress, notes and errors."""
    return Console(stderr=True, highlight=False)


def note(line: str) -> None:
    """One plain line on stderr, unless `--quiet` was given."""
    if not is_quiet():
        stderr().print(printable(line), soft_wrap=True, markup=False)


def printable(text: str) -> str:
    """Text that may come from a file, with its control characters spelled out: none of them reaches the terminal."""
    return "".join(each if each.isprintable() or each == "\n" else repr(each)[1:-1] for each in text)


def print_json(record: Any) -> None:
    """`record` as JSON on stdout: what `--json` gives, and nothing beside it."""
    sys.stdout.write(json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def is_quiet() -> bool:
    """Whether progress and notes are unwanted."""
    return _quiet.get()


@contextmanager
def quietly(quiet: bool) -> Iterator[None]:
    """Inside, `is_quiet` says `quiet`."""
    token = _quiet.set(quiet)
    try:
        yield
    finally:
        _quiet.reset(token)
