"""Errors of probing; each is also the builtin that a caller would catch."""

from __future__ import annotations

from deepcadence.schedules import DeepcadenceError

__all__ = ["LoadError", "ProfileError", "WorkloadError"]


class LoadError(DeepcadenceError, OSError):
    """A model cannot be loaded: not found, incomplete, not a pipeline, or in need of code of its own."""


class WorkloadError(DeepcadenceError, ValueError):
    """A workload does not fit its pipeline: prompts are missing, an argument is unknown, a result is no image."""


class ProfileError(DeepcadenceError, ValueError):
    """A profile cannot be measured, or its file is not a sound profile."""
