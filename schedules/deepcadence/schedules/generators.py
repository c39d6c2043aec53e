"""Formulas that give schedules: pure functions, each a screen or less."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

from deepcadence.schedules.arguments import check_number, check_whole
from deepcadence.schedules.errors import ScheduleError
from deepcadence.schedules.fields import MAX_CALLS, MAX_CUT, describe
from deepcadence.schedules.provenance import GeneratorInfo
from deepcadence.schedules.released import released_full_calls
from deepcadence.schedules.schedule import Schedule

__all__ = ["from_full_calls", "nonuniform", "uniform"]


def uniform(num_calls: int, interval: int, cut: int) -> Schedule:
    """Return the schedule with a full call every `interval` calls, and partial calls at `cut` between them.

    The paper's 1:N: Ma et al., DeepCache, CVPR 2024 (arXiv 2312.00858), section 3.3. Interval 1 is full calls only.

    Raises:
        ScheduleError: an argument is not a whole number, or out of range.
    """
    num_calls = check_whole("num_calls", num_calls, 1, MAX_CALLS)
    interval = check_whole("interval", interval, 1, MAX_CALLS)
    schedule = from_full_calls(num_calls, range(0, num_calls, interval), cut)
    return _with_generator(schedule, GeneratorInfo(name="uniform", interval=interval))


def nonuniform(
    num_calls: int,
    interval: int,
    cut: int,
    center: float,
    power: float,
    formula: Literal["paper", "released"] = "paper",
) -> Schedule:
    """Return the schedule whose full calls lie closest around call `center` and thin out by `power`.

    With T = `num_calls`, c = `center`, p = `power`, k = ceil(T / `interval`) and s(x, p) = sign(x) |x|^p, formula
    "paper" puts the full calls at

        { s(l, p) + c : l in the first k of k + 1 points evenly from s(-c, 1/p) to s(T - c, 1/p) }

    rounded down, each once, call 0 always in: Ma et al., DeepCache, CVPR 2024 (arXiv 2312.00858), the non-uniform
    1:N strategy. Calls that meet are one, so there may be fewer than k. Values within 1e-9 below a whole number count
    as that number, so that the result does not hang on the last bit of a power.

    Formula "released" gives what the code released with the paper computes instead, which (c, p) found with that code
    need: complex powers of which the real part is kept, and a power that is lowered by 0.02 until exactly k calls
    come out. `generator.effective_power` records where it ended. It needs a whole `center` and a power up to 10.

    Raises:
        ScheduleError: an argument is out of range, `power` is too extreme to compute with, or formula "released"
            finds no power above 1 that gives k calls, as the released code then does.
    """
    num_calls = check_whole("num_calls", num_calls, 1, MAX_CALLS)
    interval = check_whole("interval", interval, 1, MAX_CALLS)
    center = check_number("center", center)
    power = check_number("power", power, "a finite number above 0", above=0)
    count = -(-num_calls // interval)
    effective = None
    if formula == "paper":
        full_calls = _paper_full_calls(num_calls, count, center, power)
    elif formula == "released":
        full_calls, effective = released_full_calls(num_calls, count, center, power)
    else:
        raise ScheduleError(f'formula: found {describe(formula)}, expected "paper" or "released"')
    info = GeneratorInfo(
        name="nonuniform",
        interval=interval,
        center=center,
        power=power,
        formula=formula,
        effective_power=effective,
    )
    return _with_generator(from_full_calls(num_calls, full_calls, cut), info)


def from_full_calls(num_calls: int, full_calls: Iterable[int], cut: int) -> Schedule:
    """Return the schedule with exactly these full calls, in any order, and partial calls at `cut` between them.

    Raises:
        ScheduleError: `full_calls` lacks 0 or has an entry outside 0 to `num_calls` - 1, or an argument is invalid.
    """
    num_calls, cut = check_whole("num_calls", num_calls, 1, MAX_CALLS), check_whole("cut", cut, 0, MAX_CUT)
    full = {check_whole(f"full_calls[{index}]", call, 0, num_calls - 1) for index, call in enumerate(full_calls)}
    if 0 not in full:
        raise ScheduleError(f"full_calls: found {sorted(full)[:10]}, expected 0 among them: the first call is full")
    return Schedule(
        calls=tuple("full" if call in full else cut for call in range(num_calls)),
        generator=GeneratorInfo(name="from_full_calls"),
    )


def _paper_full_calls(num_calls: int, count: int, center: float, power: float) -> set[int]:
    try:
        start, stop = _signed_power(-center, 1 / power), _signed_power(num_calls - center, 1 / power)
        points = [start * (1 - step / count) + stop * (step / count) for step in range(count)]
        values = [_signed_power(point, power) + center for point in points]
    except OverflowError:
        values = [math.inf]
    if not all(map(math.isfinite, values)):
        raise ScheduleError(f"power: found {power}, expected one that gives finite numbers around center {center}")
    return {0} | {min(max(math.floor(value + 1e-9), 0), num_calls - 1) for value in values}


def _signed_power(base: float, power: float) -> float:
    return math.copysign(abs(base) ** power, base)


def _with_generator(schedule: Schedule, info: GeneratorInfo) -> Schedule:
    return schedule.model_copy(update={"generator": info})
