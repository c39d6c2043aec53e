"""Where the commands print: results to stdout, everything else to stderr. Rich respects NO_COLOR.

What is printed may come from a file of a stranger: labels, names of metrics, paths. So no text is markup, and control
characters are spelled out. `styled` is for words of our own in bold or color.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from rich.console import Console
from rich.text import Text

_quiet: ContextVar[bool] = ContextVar("quiet", default=False)
_NOT_PLAIN = re.compile(r"[^\n -~]")


class _PlainConsole(Console):
    """Takes every text, those of tables too, as it is written: without markup, and without control characters."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False, markup=False, emoji=False)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **options)


def stdout() -> Console:
    """For results. Made anew for each use, so that redirection and NO_COLOR are seen."""
    return _PlainConsole()


def stderr() -> Console:
    """For progress, notes and errors."""
    return _PlainConsole(stderr=True)


def styled(words: str, style: str, text: str = "") -> Text:
    """`words` in a style of rich, such as "bold red", and plain `text` after them."""
    return Text.assemble((printable(words), style), *([" ", printable(text)] if text else []))


def note(line: str) -> None:
    """One plain line on stderr, unless `--quiet` was given."""
    if not is_quiet():
        stderr().print(line, soft_wrap=True)


def printable(text: str) -> str:
    """Text that may come from a file, with its control characters spelled out: none of them reaches the terminal."""
    return "".join(each if each.isprintable() or each == "\n" else repr(each)[1:-1] for each in text)


def print_json(record: Any) -> None:
    """`record` as JSON on stdout: what `--json` gives, and nothing beside it. Control characters are escaped."""
    text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False)
    sys.stdout.write(_NOT_PLAIN.sub(_in_json, text) + "\n")


def _in_json(match: re.Match[str]) -> str:
    """A character in a text of JSON, escaped if it is not printable."""
    return match[0] if match[0].isprintable() else json.dumps(match[0])[1:-1]


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
