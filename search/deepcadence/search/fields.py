"""Values that a study, or what was measured for it, may hold when it is read: finite, and of a sane size."""

from __future__ import annotations

import unicodedata
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from deepcadence.schedules import ScheduleError
from deepcadence.schedules.fields import problem, spelled_out
from deepcadence.schedules.problems import schedule_error

__all__ = ["Escaped", "Finite", "Positive", "Prompt", "Record", "Whole", "problems"]


def _prompt(text: str) -> str:
    if any(unicodedata.category(each) in ("Cc", "Cs") and each not in "\t\n\r" for each in text):
        raise problem("text without control characters")
    return text


Whole: TypeAlias = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
Finite: TypeAlias = Annotated[float, Field(strict=True, ge=-1e39, le=1e39, allow_inf_nan=False)]
"""A number within the range of float32, which is what figures are measured in."""
Positive: TypeAlias = Annotated[float, Field(strict=True, gt=0, lt=2**63, allow_inf_nan=False)]
Escaped: TypeAlias = Annotated[str, AfterValidator(spelled_out)]
"""The words of an error, which may be of a library: on one line, with what cannot be printed spelled out."""
Prompt: TypeAlias = Annotated[str, AfterValidator(_prompt)]
"""Text for a model, which may have several lines, and whatever joins emoji; no characters that steer a terminal."""


class Record(BaseModel):
    """Base of what is written and read again: frozen, without room for unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def problems(source: str, error: ValidationError | ScheduleError) -> str:
    """What is wrong in `source`, place by place."""
    if isinstance(error, ScheduleError):
        return f"{source}: {error}"
    return str(schedule_error(source, error, {}))
