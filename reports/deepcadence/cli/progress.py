"""Progress with the time left: bars on a terminal, milestone lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from deepcadence.cli.console import is_quiet, note, printable, stderr, styled

Report = Callable[[str, int, int], None]
"""`report(phase, done, total)`: what the libraries' `progress=` arguments take."""

_MILESTONES = 4


@contextmanager
def progress() -> Iterator[Report]:
    """A reporter of progress on stderr, one bar per phase, for as long as the block runs."""
    if stderr().is_terminal and not is_quiet():
        with _Bars() as bars:
            yield bars
    else:
        yield _Lines()


@contextmanager
def busy(what: str) -> Iterator[None]:
    """A spinner (a line, elsewhere than on a terminal) around work whose length nobody knows."""
    console = stderr()
    if console.is_terminal and not is_quiet():
        with console.status(styled(f"{what} ...", "none")):
            yield
    else:
        note(f"{what} ...")
        yield


class _Bars:
    def __init__(self) -> None:
        self._tasks: dict[str, int] = {}
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=stderr(),
        )

    def __enter__(self) -> _Bars:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def __call__(self, phase: str, done: int, total: int) -> None:
        if phase not in self._tasks:
            self._tasks[phase] = self._progress.add_task(printable(phase), total=total)
        self._progress.update(self._tasks[phase], completed=done, total=total)  # type: ignore[arg-type]


class _Lines:
    """A line when a phase begins, at each quarter of it, and when it ends."""

    def __init__(self) -> None:
        self._began: dict[str, float] = {}
        self._printed: dict[str, int] = {}

    def __call__(self, phase: str, done: int, total: int) -> None:
        quarter = _MILESTONES * done // total if total else _MILESTONES
        began = self._began.setdefault(phase, time.monotonic())
        if quarter <= self._printed.get(phase, -1):
            return
        self._printed[phase] = quarter
        note(f"{phase}: {done}/{total} ({time.monotonic() - began:.0f} s)")
