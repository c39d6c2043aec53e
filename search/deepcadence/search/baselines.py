"""What a search must beat: uniform 1:N, held and extrapolated, the authors' published schedule, and fewer steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Literal

from deepcadence.schedules import ScheduleError, nonuniform, uniform
from deepcadence.search.candidates import Candidate, from_schedule
from deepcadence.search.space import SearchSpace

PUBLISHED_CENTER = 15
PUBLISHED_POWER = 1.4
PUBLISHED_CALLS = 50
PUBLISHED_INTERVAL = 5
"""The (c, p) that DeepCache's authors publish: `stable_diffusion.py` of their repository (and its README) runs Stable
Diffusion 1.5 for 50 steps with `cache_interval=5, pow=1.4, center=15`. The center is scaled to other lengths of a run;
intervals other than 5 take the same pair, which the label says."""

_INTERVALS = (2, 3, 4, 5, 7, 10, 15, 20)
_FRACTIONS = (0.8, 0.667, 0.5, 0.4, 0.333, 0.25, 0.2, 0.15, 0.1)


def baselines(
    space: SearchSpace,
    *,
    max_uniform: int = 24,
    max_published: int = 6,
    fewer_steps: Iterable[int] | None = None,
    runs: Callable[[int, str | None], bool] | None = None,
) -> list[Candidate]:
    """The baselines of a study, in the order in which they are run.

    Args:
        space: says how long a run is, and which cuts and intervals to cover.
        max_uniform: at most this many uniform schedules of each reuse (held, and along a line where the space has
            that); of more cuts the outermost.
        max_published: at most this many schedules with the published (c, p).
        fewer_steps: step counts at which to run the uncached sampler, with each spacing that the space has for it;
            default: nine from 80% to 10% of the steps, less those with which the pipeline does not run.
        runs: whether the pipeline runs with so many steps and such a spacing, see `Evaluator.runs`; default: it does.
    """
    return [
        *_uniform(space, max_uniform),
        *_published(space, max_published),
        *_fewer(space, fewer_steps, runs),
    ]


def default_fewer_steps(steps: int) -> list[int]:
    """Step counts from 80% to 10% of `steps`, largest first, at least 2 each."""
    return sorted({count for f in _FRACTIONS if 2 <= (count := round(f * steps)) < steps}, reverse=True)


def uniform_candidate(
    space: SearchSpace, interval: int, cut: int, order: Literal[0, 1, 2] = 0, alpha: float = 1.0
) -> Candidate:
    """A full call every `interval` calls, the rest partial at `cut`."""
    schedule, label = uniform(space.num_calls, interval, cut), f"uniform 1:{interval} cut {cut}"
    return from_schedule(schedule, origin="uniform", label=label, steps=space.steps, order=order, alpha=alpha)


def _uniform(space: SearchSpace, limit: int) -> list[Candidate]:
    intervals = _intervals(space)
    cuts = space.cuts[: math.ceil(limit / len(intervals))]  # the outer ones, which save the most
    grid = [(interval, cut) for interval in intervals for cut in cuts]
    orders: tuple[Literal[0, 1], ...] = (0, 1) if 1 in space.orders else (0,)
    return [uniform_candidate(space, *point, order=order) for order in orders for point in grid[:limit]]


def _published(space: SearchSpace, limit: int) -> list[Candidate]:
    """With the formula that the authors released, for which the pair was chosen; what it cannot do is left out."""
    center = round(PUBLISHED_CENTER * space.num_calls / PUBLISHED_CALLS)
    intervals = sorted(_intervals(space), key=lambda interval: (abs(interval - PUBLISHED_INTERVAL), interval))
    found: list[Candidate] = []
    for cut in space.cuts[:1]:
        for interval in intervals[:limit]:
            try:
                schedule = nonuniform(space.num_calls, interval, cut, center, PUBLISHED_POWER, formula="released")
            except ScheduleError:
                continue
            label = f"published c={center} p={PUBLISHED_POWER:g}, 1:{interval} cut {cut}"
            found.append(from_schedule(schedule, origin="published", label=label, steps=space.steps))
    return found


def fewer(steps: int, spacing: str | None = None) -> Candidate:
    """The uncached sampler with so many steps."""
    label = f"{steps} steps" + (f" {spacing}" if spacing else "")
    return Candidate(origin="fewer_steps", label=label, calls=None, steps=steps, spacing=spacing)


def _fewer(
    space: SearchSpace, given: Iterable[int] | None, runs: Callable[[int, str | None], bool] | None
) -> list[Candidate]:
    """With the default step counts what does not run is left out; of what was asked for, the trial says that."""
    spacings = dict.fromkeys((None, *space.spacings))
    steps = default_fewer_steps(space.steps) if given is None else sorted(set(given), reverse=True)
    points = [(count, spacing) for spacing in spacings for count in steps if 1 <= count < space.steps]
    return [fewer(*point) for point in points if given is not None or runs is None or runs(*point)]


def _intervals(space: SearchSpace) -> list[int]:
    low, high = space.intervals
    return [interval for interval in _INTERVALS if low <= interval <= high] or [low]
