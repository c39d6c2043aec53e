"""What a predictor proposes to a study: its front, and what comes just within a target."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Literal

import numpy as np

from deepcadence.schedules import Schedule
from deepcadence.search.candidates import Candidate, Origin, from_schedule
from deepcadence.search.predicted_front import Point, best_within, paths, predicted_front
from deepcadence.search.predictor import Calls, Predictor

CAUTION = 0.03
"""Of the predictor of a study."""

_MORE_CAUTION = 0.1
_FEWEST = 3
_DIFFERENT = 0.1  # of its calls: a schedule that differs from another in fewer is not worth a trial of its own


class Proposals:
    """What one predictor proposes: for features held, or extrapolated by one strength.

    Args:
        predictor: says what is good.
        steps: of the sampler.
        order: of the extrapolation; 0 holds features.
        shapes: regular schedules.
        cautions: with these, beside its own, the predictor looks for the best within a target.
    """

    def __init__(
        self,
        predictor: Predictor,
        steps: int,
        order: Literal[0, 1],
        shapes: list[Candidate],
        cautions: Sequence[float] = (_MORE_CAUTION, 0.0),
    ) -> None:
        self._predictor, self._steps, self._order = predictor, steps, order
        self._predictors = [predictor, *(predictor.cautious(caution) for caution in cautions)]
        self._shapes, self._coded = shapes, predictor.encode([shape.calls or () for shape in shapes])
        self._paths = paths(predictor)

    def front(self, count: int) -> list[Candidate]:
        """About `count` schedules of the predicted front."""
        points = predicted_front(self._predictor, count, np.concatenate([self._paths, self._coded]))
        return [self._named(f"predicted {number}", point) for number, point in enumerate(points, 1)]

    def within(self, target_speedup: float) -> list[Candidate]:
        """What comes just within a target, by several cautions, and the best simple shapes."""
        points = self._near(target_speedup, self._paths, self._coded)
        name = f"predicted for {target_speedup:g}x,"
        return [
            *(self._named(f"{name} {number}", point) for number, point in enumerate(points, 1)),
            *self._plain(target_speedup),
        ]

    def _near(self, target_speedup: float, *starts: Calls) -> list[Point]:
        """The best within the target, by each caution and from each of the starts, as far as they are different.

        The predictor errs by more than these differ. At most three, or more where they are cheap.
        """
        ends = [best_within(predictor, target_speedup, *starts) for predictor in self._predictors]
        chosen: list[Point] = []
        for points in zip_longest(*ends):
            for point in filter(None, points):
                if all((point.calls != other.calls).mean() >= _DIFFERENT for other in chosen):
                    chosen.append(point)
        return chosen[: max(_FEWEST, round(2 * target_speedup))]

    def _plain(self, target_speedup: float) -> list[Candidate]:
        """The best uniform schedule and the best of (c, p) within the target: simple shapes, which nothing overfits."""
        fits = self._predictor.price(self._coded) * target_speedup <= 1
        values = np.where(fits, self._predictor.psnr(self._coded), -np.inf)
        found = []
        for origin in ("uniform", "nonuniform"):
            own = np.array([shape.origin == origin for shape in self._shapes])
            best = int(np.where(own, values, -np.inf).argmax())
            if own[best] and fits[best]:
                shape = self._shapes[best]
                found.append(self._candidate(shape.schedule(), shape.origin, shape.label))
        return found

    def _named(self, name: str, point: Point) -> Candidate:
        schedule = Schedule(calls=self._predictor.decode(point.calls))
        cuts = ", ".join(map(str, schedule.cuts))
        label = f"{name}: {len(schedule.full_calls)} full, cut{'s' * (len(schedule.cuts) > 1)} {cuts}"
        return self._candidate(schedule, "predicted", label)

    def _candidate(self, schedule: Schedule, origin: Origin, label: str) -> Candidate:
        alpha = self._predictor.alpha
        return from_schedule(schedule, origin=origin, label=label, steps=self._steps, order=self._order, alpha=alpha)
