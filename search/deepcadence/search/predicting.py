"""The predictor's part of a study: measured once, before the trials, and its whole front enqueued."""

from __future__ import annotations

from collections.abc import Iterable

from deepcadence.probe import Macs, ProfileError, Workload, measure_effects
from deepcadence.schedules import Schedule
from deepcadence.search.agreement import PredictorInfo
from deepcadence.search.candidates import Candidate, from_schedule
from deepcadence.search.evaluate import Progress
from deepcadence.search.predicted_front import Point, predicted_front
from deepcadence.search.predictor import Predictor
from deepcadence.search.space import SearchSpace

_SAMPLES = 2
_DEAREST_CUT = 0.6  # a partial call that costs more than this part of a full one is not worth predicting


def predict(
    workload: Workload,
    space: SearchSpace,
    macs: Macs,
    count: int,
    known: Iterable[Candidate],
    progress: Progress | None,
) -> PredictorInfo:
    """Measure the predictor on the first search seeds, and let it propose about `count` schedules.

    Args:
        workload: its seeds are the search seeds.
        space: says which cuts.
        macs: cost of the calls.
        count: how many schedules to propose.
        known: candidates whose quality is predicted too, so that measurements can tell how good predictions are.
        progress: told of the measurement under "predictor".
    """
    cuts = [cut for cut in space.cuts if macs.partial[cut] <= _DEAREST_CUT * macs.full]
    if not cuts:
        return PredictorInfo(problem=f"no cut saves more than {1 - _DEAREST_CUT:.0%} of a full call")
    try:
        effects = measure_effects(workload.replace(seeds=workload.seeds[:_SAMPLES]), cuts, macs, progress=progress)
    except ProfileError as error:
        return PredictorInfo(problem=str(error))
    predictor = Predictor(effects, macs)
    front = predicted_front(predictor, count)
    proposed = [_candidate(predictor, number, point, space.steps) for number, point in enumerate(front, 1)]
    schedules = [found for found in (*known, *proposed) if found.calls and set(found.calls) <= {"full", *cuts}]
    values = predictor.psnr(predictor.encode([found.calls for found in schedules if found.calls]))
    return PredictorInfo(
        proposed=tuple(proposed),
        predicted={found.key: round(float(value), 4) for found, value in zip(schedules, values, strict=True)},
        samples=len(effects.seeds),
        runs=effects.cost / len(workload.seeds),
    )


def _candidate(predictor: Predictor, number: int, point: Point, steps: int) -> Candidate:
    schedule = Schedule(calls=predictor.decode(point.calls))
    cuts = ", ".join(map(str, schedule.cuts))
    label = f"predicted {number}: {len(schedule.full_calls)} full, cut{'s' * (len(schedule.cuts) > 1)} {cuts}"
    return from_schedule(schedule, origin="predicted", label=label, steps=steps)
