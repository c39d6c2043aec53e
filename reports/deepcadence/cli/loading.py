"""A schedule as the user names it: a file, or one of those that come along."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepcadence.schedules import Schedule


def load_schedule(named: Path) -> Schedule:
    """The schedule in that file; without one, the ready schedule of that name."""
    from deepcadence.schedules import Schedule, preset, presets

    return preset(str(named)) if str(named) in presets() and not named.exists() else Schedule.load(named)
