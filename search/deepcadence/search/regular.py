"""Schedules of one cut that a formula gives, uniform 1:N and (c, p): where other ones begin, and a check on them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from deepcadence.schedules import nonuniform
from deepcadence.search.baselines import uniform_candidate
from deepcadence.search.candidates import Candidate, from_schedule
from deepcadence.search.space import SearchSpace

_CENTERS = 17
_POWERS = 7


def regular(space: SearchSpace, cuts: Iterable[int]) -> list[Candidate]:
    """Uniform schedules with every interval, and a grid of the space's (c, p), features held; at each of the cuts.

    What runs alike is there once, uniform if it is that.
    """
    found: dict[str, Candidate] = {}
    for cut in cuts:
        for candidate in (*_uniform(space, cut), *_nonuniform(space, cut)):
            found.setdefault(candidate.key, candidate)
    return list(found.values())


def _uniform(space: SearchSpace, cut: int) -> Iterator[Candidate]:
    for interval in range(2, space.num_calls + 1):
        yield uniform_candidate(space, interval, cut)


def _nonuniform(space: SearchSpace, cut: int) -> Iterator[Candidate]:
    centers = sorted({round(center) for center in np.linspace(*space.centers, _CENTERS)})
    powers = [round(float(power), 2) for power in np.linspace(*space.powers, _POWERS)]
    for interval in range(space.intervals[0], space.intervals[1] + 1):
        for center in centers:
            for power in powers:
                schedule = nonuniform(space.num_calls, interval, cut, center, power)
                label = f"1:{interval} cut {cut} c={center} p={power:g}"
                yield from_schedule(schedule, origin="nonuniform", label=label, steps=space.steps)
