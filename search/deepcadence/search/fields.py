"""Values that a study, or what was measured for it, may hold when it is read: finite, and of a sane size."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deepcadence.schedules import ScheduleError
from deepcadence.schedules.problems import schedule_error

__all__ = ["Finite", "Positive", "Record", "Whole", "problems"]

Whole: TypeAlias = Annotated[int, Field(ge=0, lt=2**63)]
Finite: TypeAlias = Annotated[float, Field(ge=-1e39, le=1e39, allow_inf_nan=False)]
"""A number within the range of float32, which is what figures are measured in."""
Positive: TypeAlias = Annotated[float, Field(gt=0, lt=2**63, allow_inf_nan=False)]


class Record(BaseModel):
    """Base of what is written and read again: frozen, without room for unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def problems(source: str, error: ValidationError | ScheduleError) -> str:
    """What is wrong in `source`, place by place."""
    if isinstance(error, ScheduleError):
        return f"{source}: {error}"
    return str(schedule_error(source, error, {}))
