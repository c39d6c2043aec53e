"""The error tree of deepcadence: each error is also the builtin that a caller would catch."""

from __future__ import annotations

__all__ = ["DeepcadenceError", "MissingExtraError", "ScheduleError", "ScheduleWarning", "UnsupportedModelError"]


class DeepcadenceError(Exception):
    """Base of every error that deepcadence raises on purpose."""


class ScheduleError(DeepcadenceError, ValueError):
    """A schedule is malformed, or does not fit what it is used with."""


class UnsupportedModelError(DeepcadenceError, TypeError):
    """A model, or a feature in use on it, that deepcadence cannot cache."""


class MissingExtraError(DeepcadenceError, ImportError):
    """An optional dependency is not installed; the message names the command that installs it."""


class ScheduleWarning(UserWarning):
    """A schedule is used in a way that it was not made for, but that does no harm."""
