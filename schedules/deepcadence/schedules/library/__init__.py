"""Ready schedules that come along, each a file in this folder that says where it comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from deepcadence.schedules.errors import ScheduleError
from deepcadence.schedules.schedule import Schedule

__all__ = ["LIBRARY", "preset", "presets"]

LIBRARY: Final = Path(__file__).parent
"""The folder of the files."""


def presets() -> tuple[str, ...]:
    """The names of the ready schedules: of their files, without the ending."""
    return tuple(sorted(path.stem for path in LIBRARY.glob("*.json")))


def preset(name: str) -> Schedule:
    """The ready schedule of that name; its `created` says who made it, and its `quality` what was measured.

    Raises:
        ScheduleError: there is none.
    """
    if name not in presets():
        raise ScheduleError(f"preset: found {name!r}, expected one of {', '.join(presets())}")
    return Schedule.load(LIBRARY / f"{name}.json")
