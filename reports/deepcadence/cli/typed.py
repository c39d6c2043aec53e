"""What the user typed, for people who want to type it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_running: ContextVar[Any] = ContextVar("running")


@contextmanager
def running(context: Any) -> Iterator[None]:
    """Inside, `command_line` speaks of this context of a command."""
    token = _running.set(context)
    try:
        yield
    finally:
        _running.reset(token)


def command_line() -> str:
    """The command that runs, with the arguments and options that were given.

    Without switches such as `--json`, which change no result; the address of a database goes without its password.
    """
    context = _running.get()
    words = context.command_path.split()
    for parameter in context.command.params:
        given = context.get_parameter_source(parameter.name).name == "COMMANDLINE"
        if given and not getattr(parameter, "is_flag", False):
            words += _words(parameter, context.params[parameter.name])
    return shlex.join(words)


def _words(parameter: Any, value: Any) -> Iterator[str]:
    """`--option VALUE`, as often as it was given; of an argument the value alone."""
    for each in value if getattr(parameter, "multiple", False) else [value]:
        if parameter.param_type_name == "option":
            yield parameter.opts[0]
        for word in each if parameter.nargs != 1 else [each]:
            yield _without_password(str(word))


def _without_password(text: str) -> str:
    if "://" not in text:
        return text
    from deepcadence.search.addresses import masked

    return masked(text)
