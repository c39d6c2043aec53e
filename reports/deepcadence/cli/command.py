"""How every command ends: `--debug`, one sentence per error, Ctrl-C that says what is kept."""

from __future__ import annotations

import errno
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperCommand

from deepcadence.cli.console import stderr

INTERRUPTED = 130
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error instead of one sentence.")]
"""What each command takes, and `Command` acts on."""

_kept: list[str] = []


class Command(TyperCommand):
    """A typer command whose errors end in one sentence and exit code 1."""

    def invoke(self, ctx: Any) -> Any:
        debug = ctx.params.get("debug", False)
        _kept.clear()
        try:
            with _plain_warnings():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            stderr().print(f"[bold]stopped.[/] {escape(_kept[-1] if _kept else 'Nothing was written.')}")
            raise typer.Exit(INTERRUPTED) from None
        except Exception as error:
            if debug or not (sentence := error_sentence(error)):
                raise
            stderr().print(f"[bold red]error:[/] {escape(sentence)}", soft_wrap=True, highlight=False)
            raise typer.Exit(1) from None


def on_interrupt(sentence: str) -> None:
    """Say `sentence` should the user press Ctrl-C from here on: what is kept, and how to go on."""
    _kept.append(sentence)


def error_sentence(error: Exception) -> str | None:
    """What to tell the user about `error`, or None where a traceback is the honest answer (a bug)."""
    from deepcadence.schedules import DeepcadenceError

    if isinstance(error, OSError) and error.errno == errno.EPIPE:
        return None  # typer ends quietly when the reader of a pipe is gone
    if isinstance(error, DeepcadenceError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.strerror}: {error.filename}" if error.strerror and error.filename else str(error)
    if type(error).__name__ == "OutOfMemoryError":
        return f"the device ran out of memory: try a smaller --batch-size ({str(error).splitlines()[0]})"
    return None


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Our own warnings as a line each; those of other packages, which the user of a command cannot heed, not at all."""
    from deepcadence.schedules import ScheduleWarning

    def show(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        if issubclass(category, ScheduleWarning):
            stderr().print(f"[bold yellow]warning:[/] {escape(str(message))}", soft_wrap=True)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
