"""Checking arguments that people pass to generators."""

from __future__ import annotations

import math
import operator
from typing import Any

from deepcadence.schedules.errors import ScheduleError
from deepcadence.schedules.fields import describe

__all__ = ["check_number", "check_whole"]


def check_whole(name: str, value: Any, low: int, high: int | None = None) -> int:
    """Return `value` as an int, or raise `ScheduleError` if it is none (a bool is none) or outside `low` to `high`."""
    expected = f"a whole number from {low}" + ("" if high is None else f" to {high}")
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < low or (high is not None and number > high):
        raise ScheduleError(f"{name}: found {describe(value)}, expected {expected}")
    return number


def check_number(name: str, value: Any, expected: str = "a finite number", *, above: float = -math.inf) -> int | float:
    """Return `value` as a finite int or float above `above` (an int where it is whole), or raise `ScheduleError`."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number) and number > above:
            return int(number) if number.is_integer() and abs(number) < 2**53 else number
    raise ScheduleError(f"{name}: found {describe(value)}, expected {expected}")
