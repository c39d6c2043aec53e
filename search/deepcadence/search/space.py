"""The space of non-uniform schedules: interval, center, power, cut, and the order of extrapolation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, cast

import optuna

from deepcadence.probe import Macs
from deepcadence.schedules import nonuniform
from deepcadence.search.candidates import Candidate, from_schedule
from deepcadence.search.errors import SearchError

_POWER_STEP = 0.05
_MAX_INTERVAL = 10


@dataclass(frozen=True)
class SearchSpace:
    """The values that a search may try; both ends of a range are in it.

    Attributes:
        num_calls: calls T of a run of the reference.
        steps: sampler steps of that run.
        cuts: where the network may be split.
        intervals: lowest and highest N, a full call every N calls on average.
        centers: lowest and highest c, the call around which full calls are densest, in whole calls.
        powers: lowest and highest p, how strongly they gather there; steps of 0.05.
        orders: how features may be reused: 0 holds the last one, 1 extrapolates along a line, 2 along a parabola.
    """

    num_calls: int
    steps: int
    cuts: tuple[int, ...]
    intervals: tuple[int, int]
    centers: tuple[int, int]
    powers: tuple[float, float] = (1.05, 2.5)
    orders: tuple[int, ...] = (0, 1, 2)

    @classmethod
    def default(
        cls,
        num_calls: int,
        steps: int,
        cuts: Iterable[int],
        *,
        intervals: tuple[int, int] | None = None,
        powers: tuple[float, float] | None = None,
        orders: Iterable[int] | None = None,
    ) -> SearchSpace:
        """N from 2 to 10 (or to T / 2 in short runs), c over the whole run, p from 1.05 to 2.5, every order.

        Raises:
            SearchError: a range is empty or outside the run.
        """
        space = cls(
            num_calls=num_calls,
            steps=steps,
            cuts=tuple(sorted(set(cuts))),
            intervals=intervals or (2, max(2, min(_MAX_INTERVAL, num_calls // 2))),
            centers=(0, num_calls - 1),
            powers=powers or (1.05, 2.5),
            orders=(0, 1, 2) if orders is None else tuple(sorted(set(orders))),
        )
        space.check()
        return space

    def check(self) -> None:
        """Raise `SearchError` if a range is empty or outside the run."""
        if self.num_calls < 2:
            raise SearchError(f"a run of {self.num_calls} calls leaves nothing to reuse; expected at least 2 steps")
        if not self.cuts:
            raise SearchError("no cut to search over; expected at least one")
        low, high = self.intervals
        if not 2 <= low <= high <= self.num_calls:
            raise SearchError(f"intervals are {self.intervals}; expected 2 <= low <= high <= {self.num_calls}")
        if not 1.0 < self.powers[0] <= self.powers[1]:
            raise SearchError(f"powers are {self.powers}; expected 1 < low <= high")
        if not self.orders or not set(self.orders) <= {0, 1, 2}:
            raise SearchError(f"orders are {self.orders}; expected one or more of 0, 1, 2")

    def suggest(self, trial: optuna.Trial) -> Candidate:
        """Ask Optuna for a point of the space."""
        interval = trial.suggest_int("interval", *self.intervals)
        cut = int(trial.suggest_categorical("cut", self.cuts))
        center = trial.suggest_int("center", *self.centers)
        power = round(trial.suggest_float("power", *self.powers, step=_POWER_STEP), 4)
        order = cast(Literal[0, 1, 2], trial.suggest_categorical("order", self.orders))
        schedule = nonuniform(self.num_calls, interval, cut, center, power)
        label = f"1:{interval} cut {cut} c={center} p={power:g}"
        return from_schedule(schedule, origin="nonuniform", label=label, steps=self.steps, order=order)

    def tell_baseline(self, trial: optuna.Trial, candidate: Candidate) -> None:
        """Let Optuna's sampler learn from a baseline: put what it shares with the space into the trial's parameters."""
        if candidate.calls is None:
            return
        if candidate.interval is not None and self.intervals[0] <= candidate.interval <= self.intervals[1]:
            trial.suggest_int("interval", *self.intervals)
        if candidate.cut in self.cuts:
            trial.suggest_categorical("cut", self.cuts)
        if candidate.order in self.orders:
            trial.suggest_categorical("order", self.orders)

    def baseline_params(self, candidate: Candidate) -> dict[str, Any]:
        """The values that `tell_baseline` will find, for `Study.enqueue_trial`."""
        if candidate.calls is None:
            return {}
        known = {"interval": candidate.interval, "cut": candidate.cut, "order": candidate.order}
        return {name: value for name, value in known.items() if value is not None}


def cuts_within_reach(macs: Macs, target_speedup: float) -> list[int]:
    """The cuts at which a schedule can be so many times cheaper: those whose partial call is.

    Raises:
        SearchError: there are none.
    """
    cuts = [cut for cut, cost in sorted(macs.partial.items()) if cost * target_speedup < macs.full]
    if not cuts:
        best = macs.full / min(macs.partial.values())
        raise SearchError(f"no cut saves that much: a partial call is at most {best:.3g} times cheaper than a full one")
    return cuts
