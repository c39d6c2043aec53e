"""What every command has: `--debug` and `--quiet`, one sentence per error, Ctrl-C that says what is kept."""

from __future__ import annotations

import errno
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from deepcadence.cli.console import quietly, stderr, styled
from deepcadence.cli.typed import running

INTERRUPTED = 130
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error instead of one sentence.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="No progress and no notes: only results, warnings and errors.")
]
"""These two each command takes, and `Command` acts on them."""
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout, for scripts.")]
"""What each command acts on by itself."""

_kept: list[str] = []


class Command(TyperCommand):
    """A typer command whose errors end in one sentence and exit code 1."""

    def invoke(self, ctx: Any) -> Any:
        from deepcadence.cli.outputs import keep_folders, remove_empty_folders

        debug = ctx.params.get("debug", False)
        _kept.clear()
        keep_folders()
        try:
            with _plain_warnings(), running(ctx), quietly(ctx.params.get("quiet", False)):
                return super().invoke(ctx)
        except KeyboardInterrupt:
            remove_empty_folders()
            stderr().print(styled("stopped.", "bold", _kept[-1] if _kept else "Nothing was written."))
            raise typer.Exit(INTERRUPTED) from None
        except Exception as error:
            remove_empty_folders()
            if debug or not (sentence := error_sentence(error)):
                raise
            stderr().print(styled("error:", "bold red", sentence), soft_wrap=True)
            raise typer.Exit(1) from None


def on_interrupt(sentence: str) -> None:
    """Say `sentence` should the user press Ctrl-C from here on: what is kept, and how to go on."""
    _kept.append(sentence)


def error_sentence(error: Exception) -> str | None:
    """What to tell the user about `error`, or None where a traceback is the honest answer (a bug)."""
    from deepcadence.schedules import DeepcadenceError

    if isinstance(error, OSError) and error.errno == errno.EPIPE:
        return None  # typer ends quietly when the reader of a pipe is gone
    for cause in _causes(error):
        if _is_out_of_memory(cause):
            reason = next(iter(str(cause).splitlines()), "") or type(cause).__name__
            return f"the device ran out of memory: try a smaller --batch-size, or --dtype float16 on a GPU ({reason})"
    if isinstance(error, DeepcadenceError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.strerror}: {error.filename}" if error.strerror and error.filename else str(error)
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """`error`, what it was raised from, and so on: libraries wrap the one that matters."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether a device, or the machine, has no memory left: torch says so in several ways."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(
        words in str(error) for words in ("out of memory", "can't allocate memory", "not enough memory")
    )


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Our own warnings as a line each; those of other packages, which the user of a command cannot heed, not at all."""
    from deepcadence.schedules import ScheduleWarning

    shown = set()  # a schedule is checked by the command, and again by the runtime

    def show(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        if issubclass(category, ScheduleWarning) and str(message) not in shown:
            shown.add(str(message))
            stderr().print(styled("warning:", "bold yellow", str(message)), soft_wrap=True)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
