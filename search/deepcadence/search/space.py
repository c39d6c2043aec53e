"""The space of a search: non-uniform schedules, how features are reused, and how the sampler runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

import optuna

from deepcadence.probe import Macs
from deepcadence.schedules import nonuniform, uniform
from deepcadence.schedules.fields import MAX_ALPHA
from deepcadence.search.candidates import Candidate, from_schedule
from deepcadence.search.errors import SearchError

_POWER_STEP = 0.05
_MAX_INTERVAL = 10
DEFAULT_ALPHAS = (0.75, 1.0)
"""What is searched unless the caller says otherwise: what pays on the bundled model."""
_T = TypeVar("_T")


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
        alphas: how much of an extrapolation's step may be taken; more than 1 goes beyond the line or the parabola.
        thresholds: of adaptive reuse; without any, no schedule is adaptive.
        max_holds: the most partial calls in a row that an adaptive schedule may have; none for no limit.
        fewer: further numbers of steps to try schedules at, each with the calls of such a run.
        spacings: `timestep_spacing` of the sampler; None is that of the reference.
    """

    num_calls: int
    steps: int
    cuts: tuple[int, ...]
    intervals: tuple[int, int]
    centers: tuple[int, int]
    powers: tuple[float, float] = (1.05, 2.5)
    orders: tuple[int, ...] = (0, 1, 2)
    alphas: tuple[float, ...] = DEFAULT_ALPHAS
    thresholds: tuple[float, ...] = ()
    max_holds: tuple[int, ...] = ()
    fewer: tuple[tuple[int, int], ...] = ()
    spacings: tuple[str | None, ...] = (None,)

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
        alphas: Iterable[float] | None = None,
        thresholds: Iterable[float] = (),
        max_holds: Iterable[int] = (),
        fewer: Iterable[tuple[int, int]] = (),
        spacings: Iterable[str | None] | None = None,
    ) -> SearchSpace:
        """N from 2 to 10 (or to T / 2 in short runs), c over the whole run, p from 1.05 to 2.5, every order.

        Nothing is adaptive, and the sampler runs as in the reference, unless it is given.

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
            alphas=DEFAULT_ALPHAS if alphas is None else tuple(sorted({float(alpha) for alpha in alphas})),
            thresholds=tuple(sorted({float(threshold) for threshold in thresholds})),
            max_holds=tuple(sorted(set(max_holds))),
            fewer=tuple(sorted(set(fewer))),
            spacings=(None,) if spacings is None else tuple(dict.fromkeys(spacings)),
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
        if not (self.orders or self.thresholds) or not set(self.orders) <= {0, 1, 2}:
            raise SearchError(f"orders are {self.orders}; expected one or more of 0, 1, 2")
        self._check_reuse()
        for steps, calls in self.fewer:
            if not 1 <= steps < self.steps or calls < self.intervals[0]:
                raise SearchError(
                    f"steps to try are {steps}; expected fewer than the {self.steps} of the reference, and a run of at "
                    f"least {self.intervals[0]} calls"
                )
        if not self.spacings:
            raise SearchError("spacings are (); expected one or more, None for that of the sampler")

    def _check_reuse(self) -> None:
        if not self.alphas or not all(0 < alpha <= MAX_ALPHA for alpha in self.alphas):
            raise SearchError(f"alphas are {self.alphas}; expected one or more above 0, up to {MAX_ALPHA}")
        if not all(math.isfinite(threshold) and threshold >= 0 for threshold in self.thresholds):
            raise SearchError(f"thresholds are {self.thresholds}; expected numbers of at least 0")
        if not all(most >= 1 for most in self.max_holds):
            raise SearchError(f"max_holds are {self.max_holds}; expected whole numbers of at least 1")
        if self.max_holds and not self.thresholds:
            raise SearchError("max_holds belong to adaptive schedules; give thresholds as well")

    def suggest(self, trial: optuna.Trial, calls_of: Callable[[int, str | None], int] | None = None) -> Candidate:
        """Ask Optuna for a point of the space.

        Args:
            trial: what to ask.
            calls_of: calls of a run of so many steps with such a spacing, see `Evaluator.calls_of`, as some spacings
                make one call more; default: as many as with the spacing of the reference.
        """
        lengths = {self.steps: self.num_calls, **dict(self.fewer)}
        steps = _choice(trial, "steps", tuple(lengths))
        spacing = _choice(trial, "spacing", self.spacings)
        threshold = _choice(trial, "threshold", (*(None,) * bool(self.orders), *self.thresholds))
        num_calls = lengths[steps] if calls_of is None else calls_of(steps, spacing)
        found = self._nonuniform(trial, num_calls) if threshold is None else self._adaptive(trial, num_calls, threshold)
        words = [found.label, *([f"{steps} steps"] if steps != self.steps else []), *([spacing] if spacing else [])]
        return found.model_copy(update={"label": " ".join(words), "steps": steps, "spacing": spacing})

    def _nonuniform(self, trial: optuna.Trial, num_calls: int) -> Candidate:
        """A schedule of `num_calls` calls; c, which is of the reference, is scaled to them."""
        interval = trial.suggest_int("interval", *self.intervals)
        cut = int(trial.suggest_categorical("cut", self.cuts))
        center = trial.suggest_int("center", *self.centers)
        power = round(trial.suggest_float("power", *self.powers, step=_POWER_STEP), 4)
        order = cast(Literal[0, 1, 2], trial.suggest_categorical("order", self.orders))
        alpha = _choice(trial, "alpha", self.alphas) if order else 1.0
        interval, center = min(interval, num_calls), center * num_calls // self.num_calls
        schedule = nonuniform(num_calls, interval, cut, center, power)
        label = f"1:{interval} cut {cut} c={center} p={power:g}"
        return from_schedule(schedule, origin="nonuniform", label=label, steps=self.steps, order=order, alpha=alpha)

    def _adaptive(self, trial: optuna.Trial, num_calls: int, threshold: float) -> Candidate:
        """Every call but the first lets the input decide."""
        cut = int(trial.suggest_categorical("cut", self.cuts))
        most = _choice(trial, "max_hold", self.max_holds or (None,))
        label = f"adaptive {threshold:g} cut {cut}" + (f" max {most}" if most else "")
        schedule = uniform(num_calls, num_calls, cut)
        found = from_schedule(schedule, origin="adaptive", label=label, steps=self.steps)
        return found.model_copy(update={"interval": None, "threshold": threshold, "max_hold": most})

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


def _choice(trial: optuna.Trial, name: str, values: Sequence[_T]) -> _T:
    """One of them; what is fixed is no parameter of the trial."""
    if len(values) == 1:
        return values[0]
    return cast(_T, trial.suggest_categorical(name, cast(Any, values)))


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
