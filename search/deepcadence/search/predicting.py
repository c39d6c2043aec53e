"""The predictor's part of a study: measured once, before the trials, and its whole front enqueued."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from deepcadence.probe import Macs, ProfileError, Workload, measure_effects
from deepcadence.search.agreement import PredictorInfo
from deepcadence.search.candidates import Candidate
from deepcadence.search.evaluate import Progress
from deepcadence.search.predictor import Predictor
from deepcadence.search.proposals import CAUTION, Proposals
from deepcadence.search.regular import regular
from deepcadence.search.space import SearchSpace

_SAMPLES = 2
_ORDERS: tuple[Literal[0, 1], ...] = (0, 1)  # of extrapolation
_HOPELESS = 8.0  # dB: what is predicted to be so far behind the best within the target is not tried for it
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
    cuts = useful_cuts(macs, space.cuts)
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
    front: list[Candidate] = []
    near: list[Candidate] = []
    predicted: dict[str, float] = {}
    shapes = regular(space, cuts)
    for order, alpha in reuses:
        predictor = Predictor(effects, macs, alpha=alpha, caution=CAUTION)
        proposals = Proposals(predictor, space.steps, order, shapes)
        if not again or target_speedup is None:
            front += proposals.front(max(1, count // len(reuses)))
        if target_speedup is not None:
            near += proposals.within(target_speedup)
        alike = [each for each in (*known, *front, *near) if (each.order, each.alpha) == (order, alpha or 1.0)]
        predicted |= _values(predictor, alike)
    return PredictorInfo(
        proposed=_different([*front, *_hopeful(near, predicted)]),
        predicted=predicted,
        samples=len(effects.seeds),
        runs=effects.cost / len(workload.seeds),
        targets=(target_speedup,),
    )


def _hopeful(near: list[Candidate], predicted: dict[str, float]) -> list[Candidate]:
    """Those that may turn out to be the best within the target."""
    best = max((predicted[candidate.key] for candidate in near), default=0.0)
    return [candidate for candidate in near if predicted[candidate.key] > best - _HOPELESS]


def _different(candidates: list[Candidate]) -> tuple[Candidate, ...]:
    """Each way to run once, named as it was first."""
    return tuple({each.key: each for each in reversed(candidates)}.values())[::-1]


def useful_cuts(macs: Macs, cuts: Iterable[int]) -> list[int]:
    """Those whose partial calls save enough for the predictor to look at them."""
    return [cut for cut in cuts if macs.partial[cut] <= _DEAREST_CUT * macs.full]


def _strengths(space: SearchSpace, order: int) -> tuple[float, ...]:
    """Of the extrapolation; holding is strength 0 of the line."""
    return space.alphas if order else (0.0,)


def _values(predictor: Predictor, candidates: Iterable[Candidate]) -> dict[str, float]:
    """Predicted PSNR by key, of those that are schedules at cuts that the predictor knows."""
    schedules = {found.key: found.calls for found in candidates if set(found.calls or ()) <= {"full", *predictor.cuts}}
    known = {key: calls for key, calls in schedules.items() if calls is not None}
    if not known:
        return {}
    values = predictor.psnr(predictor.encode(list(known.values())))
    return {key: round(float(value), 4) for key, value in zip(known, values, strict=True)}
