"""The strongest baselines that cost no more than a given schedule."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Literal

from deepcadence.probe import Macs, Workload
from deepcadence.search.baselines import uniform_candidate
from deepcadence.search.candidates import Candidate
from deepcadence.search.evaluate import Evaluator, NoFiguresError, Progress
from deepcadence.search.quality import QualityFunction
from deepcadence.search.results import StudyResult
from deepcadence.search.space import SearchSpace

ROUNDING = 1 + 1e-9
"""What a cost may be beyond its limit, by which the rounding of a division may exceed it."""


def best_uniform(
    workload: Workload,
    result: StudyResult,
    macs: Macs,
    limit: float,
    *,
    order: Literal[0, 1, 2] = 0,
    alphas: Iterable[float] = (1.0,),
    measure_missing: bool = True,
    quality: QualityFunction | None = None,
    progress: Progress | None = None,
) -> Candidate | None:
    """The uniform schedule with the best quality on the search seeds among those of at most `limit` mean MACs.

    All uniform trials of the study compete, and, at each cut of the study, the smallest interval that fits, unless its
    images are not finite.

    Args:
        workload: its seeds are ignored; those of the study are used.
        result: the study.
        macs: cost of the calls, by the rules of `limit`.
        limit: mean MACs per call.
        order: of the extrapolation; 0 holds features.
        alphas: how much of the extrapolation's step may be taken.
        measure_missing: run the ones that the study did not; else they do not compete.
        quality: the study's own quality function, if it has one.
        progress: told of the runs under "uniform baselines".

    Returns:
        None if no uniform schedule is that cheap and gives finite images.

    Raises:
        SearchError: the images of the uncached run are not finite.
    """
    strengths = sorted(set(alphas)) if order else [1.0]
    trials = [t for t in result.trials if t.origin == "uniform" and t.order == order and t.alpha in strengths]
    known = {t.key: result.quality(t) for t in trials}
    uniform = [Candidate(**_core(t)) for t in trials]
    fitting = [candidate for candidate in uniform if _mean(candidate, macs) <= limit * ROUNDING]
    smallest = [c for alpha in strengths for c in _smallest_intervals(result, macs, limit, order, alpha)]
    missing = [candidate for candidate in smallest if candidate.key not in known]
    if measure_missing and missing:
        evaluator = Evaluator(workload.replace(seeds=result.seeds), macs=macs, quality=quality)
        for done, candidate in enumerate(missing, 1):
            with suppress(NoFiguresError):
                measured = evaluator.measure(candidate.schedule())
                known[candidate.key] = float(measured.values(result.metric).double().mean())
                fitting.append(candidate)
            if progress is not None:
                progress("uniform baselines", done, len(missing))
    return max(fitting, key=lambda candidate: known[candidate.key], default=None)


def most_steps(evaluator: Evaluator, limit: float, spacing: str | None = None) -> int | None:
    """The largest number of steps, fewer than the reference's, of at most `limit` mean MACs; None if there is none.

    Args:
        evaluator: knows how many calls a run makes. Step counts with which the pipeline does not run are passed over.
        limit: mean MACs per call of the reference.
        spacing: `timestep_spacing` of the sampler; default: that of the reference.
    """
    fits, beyond = 0, evaluator.workload.steps  # more steps never make fewer calls, and too few do not run
    while beyond - fits > 1:
        middle = (fits + beyond) // 2
        if not evaluator.runs(middle, spacing) or evaluator.fewer_steps_macs(middle, spacing) <= limit * ROUNDING:
            fits = middle
        else:
            beyond = middle
    return next((steps for steps in range(fits, 0, -1) if evaluator.runs(steps, spacing)), None)


def _smallest_intervals(
    result: StudyResult, macs: Macs, limit: float, order: Literal[0, 1, 2], alpha: float
) -> list[Candidate]:
    space = SearchSpace.default(result.num_calls, result.steps, result.cuts)
    found: list[Candidate] = []
    for cut in result.cuts:
        for interval in range(2, result.num_calls + 1):
            candidate = uniform_candidate(space, interval, cut, order, alpha)
            if _mean(candidate, macs) <= limit * ROUNDING:
                found.append(candidate)
                break
    return found


def _mean(candidate: Candidate, macs: Macs) -> float:
    return candidate.schedule().mean_macs(macs.full, macs.partial)


def _core(candidate: Candidate) -> dict[str, object]:
    return {name: getattr(candidate, name) for name in Candidate.model_fields}
