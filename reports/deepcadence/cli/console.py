"""Where the commands print: results to stdout, everything else to stderr. Rich respects NO_COLOR."""

from __future__ import annotations

from rich.console import Console


def stdout() -> Console:
    """For results. Made anew for each use, so that redirection and NO_COLOR are seen."""
    return Console(highlight=False)


def stderr() -> Console:
    """For progress, notes and errors."""
    return Console(stderr=True, highlight=False)


def note(line: str) -> None:
    """One plain line on stderr."""
    stderr().print(line, soft_wrap=True, markup=False)
