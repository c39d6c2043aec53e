"""The non-uniform formula as the code released with the DeepCache paper computes it, on plain Python numbers.

That code, `sample_from_quad_center`, raises negative numbers to fractional powers, which makes them complex, truncates
the real parts, sorts them, drops the first and the last, and lowers the power by 0.02 until as many calls as it wants
come out. Results must be the same to the call, so the arithmetic keeps NumPy's order of operations. Where a
result hangs on the last bit of a power, NumPy itself may differ between machines; of 6,720 settings compared with
NumPy 2.4 on x86-64, two were off by a step of the power.
"""

from __future__ import annotations

import cmath
import math
from fractions import Fraction
from typing import Any

from deepcadence.schedules.errors import ScheduleError
from deepcadence.schedules.fields import describe

__all__ = ["released_full_calls"]

_MAX_POWER = 10
_MAX_CENTER = 10**6


def released_full_calls(num_calls: int, count: int, center: float, power: float) -> tuple[set[int], float]:
    """Return the full calls of formula "released" and the power at which they were found.

    Calls outside the run, which the released code can produce and never reaches, are left out.

    Raises:
        ScheduleError: center or power are unusable, or no power above 1 gives `count` calls.
    """
    if not isinstance(center, int) or abs(center) > _MAX_CENTER:
        raise ScheduleError(
            f"center: found {describe(center)}, expected a whole number from -{_MAX_CENTER} to {_MAX_CENTER} "
            'for formula "released"'
        )
    if power > _MAX_POWER:
        raise ScheduleError(f'power: found {power}, expected at most {_MAX_POWER} for formula "released"')
    current: float = power
    while current > 1:
        values = sorted({int(value.real) for value in _powers(num_calls, count, center, current)})
        calls = [0, *(value + center for value in values[1:-1])]
        if len(calls) == count:
            effective = power if current == power else round(current, 10)
            return {call for call in calls if 0 <= call < num_calls}, effective
        current -= 0.02
    raise ScheduleError(
        f'formula "released" finds no power above 1 and up to {power} that gives {count} of {num_calls} calls around '
        f"center {center}, and neither does the code that it reproduces; use another power (above 1), interval or "
        'center, or formula "paper"'
    )


def _powers(num_calls: int, count: int, center: int, power: float) -> list[complex]:
    """Return the `count` + 1 points, evenly spaced between the roots of both ends, raised to `power`."""
    start: Any = (-center) ** (1 / power)  # complex where the base is negative, else real
    stop: Any = (num_calls - center) ** (1 / power)
    span = stop - start
    # NumPy divides complex numbers, unlike real ones, by multiplying with the reciprocal.
    step = span * (1 / count) if isinstance(span, complex) else span / count
    points = [index * step + start for index in range(count)] + [stop]
    if isinstance(span, complex):
        return [_complex_power(complex(point), power) for point in points]
    return [point**power for point in points]


def _complex_power(base: complex, power: float) -> complex:
    if base == 0:
        return base
    if power == int(power):  # NumPy multiplies whole powers out, by repeated squaring
        result, square, rest = 1 + 0j, base, int(power)
        while rest:
            result, square, rest = (result * square if rest % 2 else result), square * square, rest // 2
        return result
    return cmath.exp(power * _logarithm(base))


def _logarithm(base: complex) -> complex:
    """Return the logarithm as the C library of Linux rounds it, near |base| = 1 too, where `cmath.log` differs.

    The powers of both ends are whole numbers but for the last bit, and that bit decides how they are truncated.
    """
    small, big = sorted((abs(base.real), abs(base.imag)))
    if 0.5 <= big < 1 and big * big + small * small >= 0.5:
        size = math.log1p(float(Fraction(big) ** 2 + Fraction(small) ** 2 - 1)) / 2
    elif 1 <= big < 2 and small < 1:
        size = math.log1p((big - 1) * (big + 1) + small * small) / 2
    else:
        size = math.log(math.hypot(big, small))
    return complex(size, math.atan2(base.imag, base.real))
