"""The predictor's part of a study: measured once, before the trials, and its whole front enqueued."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from deepcadence.probe import Macs, ProfileError, Workload, measure_effects
from deepcadence.schedules import Schedule
from deepcadence.search.agreement import PredictorInfo
from deepcadence.search.candidates import Candidate, from_schedule
from deepcadence.search.evaluate import Progress
from deepcadence.search.predicted_front import Point, best_within, paths, predicted_front
from deepcadence.search.predictor import Predictor
from deepcadence.search.space import SearchSpace

_SAMPLES = 2
_ORDERS: tuple[Literal[0, 1], ...] = (0, 1)  # of extrapolation
_DEAREST_CUT = 0.6  # a partial call that costs more than this part of a full one is not worth predicting


def predict(
    workload: Workload,
    space: SearchSpace,
    macs: Macs,
    count: int,
    known: Iterable[Candidate],
    progress: Progress | None,
    target_speedup: float | None = None,
    *,
    again: bool = False,
) -> PredictorInfo:
    """Measure the predictor on the first search seeds, and let it propose about `count` schedules.

    Args:
        workload: its seeds are the search seeds.
        space: says which cuts.
        macs: cost of the calls.
        count: how many schedules to propose.
        known: candidates whose quality is predicted too, so that measurements can tell how good predictions are.
        progress: told of the measurement under "predictor".
        target_speedup: what is wanted; what comes just within it is proposed in any case.
        again: the front was proposed before, for another target: propose only what comes just within this one.
    """
    cuts = [cut for cut in space.cuts if macs.partial[cut] <= _DEAREST_CUT * macs.full]
    if not cuts:
        return PredictorInfo(problem=f"no cut saves more than {1 - _DEAREST_CUT:.0%} of a full call")
    reuses = [(order, alpha) for order in _ORDERS if order in space.orders for alpha in _strengths(space, order)]
    if not reuses:
        return PredictorInfo(
            problem="nothing that it predicts is searched: features held, or extrapolated along a line"
        )
    try:
        effects = measure_effects(workload.replace(seeds=workload.seeds[:_SAMPLES]), cuts, macs, progress=progress)
    except ProfileError as error:
        return PredictorInfo(problem=str(error))
    proposed: list[Candidate] = []
    predicted: dict[str, float] = {}
    for order, alpha in reuses:
        predictor = Predictor(effects, macs, alpha=alpha)
        if again and target_speedup is not None:
            name = f"predicted for {target_speedup:g}x,"
            front = best_within(predictor, target_speedup, paths(predictor))
        else:
            name = "predicted"
            front = predicted_front(predictor, max(1, count // len(reuses)), target_speedup)
        found = [
            _candidate(predictor, f"{name} {number}", point, space.steps, order, alpha)
            for number, point in enumerate(front, 1)
        ]
        alike = [each for each in (*known, *found) if (each.order, each.alpha) == (order, alpha or 1.0)]
        predicted |= _values(predictor, alike)
        proposed += found
    return PredictorInfo(
        proposed=tuple(proposed),
        predicted=predicted,
        samples=len(effects.seeds),
        runs=effects.cost / len(workload.seeds),
        targets=(target_speedup,),
    )


def _strengths(space: SearchSpace, order: int) -> tuple[float, ...]:
    """Of the extrapolation; holding is strength 0 of the line."""
    return space.alphas if order else (0.0,)


def _values(predictor: Predictor, candidates: Iterable[Candidate]) -> dict[str, float]:
    """Predicted PSNR by key, of those that are schedules at cuts that the predictor knows."""
    schedules = {found.key: found.calls for found in candidates if set(found.calls or ()) <= {"full", *predictor.cuts}}
    known = {key: calls for key, calls in schedules.items() if calls is not None}
    values = predictor.psnr(predictor.encode(list(known.values())))
    return {key: round(float(value), 4) for key, value in zip(known, values, strict=True)}


def _candidate(
    predictor: Predictor, name: str, point: Point, steps: int, order: Literal[0, 1, 2], alpha: float
) -> Candidate:
    schedule = Schedule(calls=predictor.decode(point.calls))
    cuts = ", ".join(map(str, schedule.cuts))
    label = f"{name}: {len(schedule.full_calls)} full, cut{'s' * (len(schedule.cuts) > 1)} {cuts}"
    return from_schedule(schedule, origin="predicted", label=label, steps=steps, order=order, alpha=alpha)
