"""The last word: the chosen schedule and its rivals at equal cost, on seeds that the search never saw."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Callable, Sequence
from os import PathLike
from typing import Annotated

from pydantic import Field, ValidationError

from deepcadence.probe import Workload, noise_of
from deepcadence.schedules import Call, Schedule, ScheduleError, read_at_most, write_atomically
from deepcadence.schedules.fields import Count, Several, Text, shortened
from deepcadence.schedules.text import unique_keys
from deepcadence.search.baselines import fewer
from deepcadence.search.candidates import Candidate, Origin
from deepcadence.search.contenders import best_uniform, most_steps
from deepcadence.search.errors import SearchError
from deepcadence.search.evaluate import Evaluator, Measurement, NoFiguresError, Progress
from deepcadence.search.fields import Finite, Positive, Record, Whole, problems
from deepcadence.search.identity import check_same_workload
from deepcadence.search.provenance import documented
from deepcadence.search.quality import QualityFunction, check_function
from deepcadence.search.results import StudyResult
from deepcadence.search.statistics import Estimate, mean_and_ci, paired_difference
from deepcadence.search.timing import wall_speedups
from deepcadence.search.verdict import words

_MAX_BYTES = 2**23


class Comparison(Record):
    """One way of running the model, measured on held-out seeds.

    Attributes:
        origin, label, calls, order, alpha, threshold, max_hold, steps, spacing: what ran, as in `Candidate`.
        full_calls, partial_calls: of a run; of an average one, rounded, where the input decides.
        mean_macs: MACs of a run (exact) divided by the calls of the reference run, per sample.
        speedup: MACs of a full call divided by `mean_macs`.
        wall_speedup: seconds of the reference divided by seconds of this, see `wall_speedups`.
        seconds_per_sample: of this, image decoding included.
        psnr: dB against the uncached run of the same seeds.
        ssim: against the same.
        own: of the study's own quality function; None if it has none.
        psnr_difference, ssim_difference, own_difference: chosen minus this, paired by seed; None for the chosen itself.
    """

    origin: Origin
    label: Text
    calls: Several[Call] | None
    order: Whole = 0
    alpha: Finite = 1.0
    threshold: Finite | None = None
    max_hold: Whole | None = None
    steps: Count
    spacing: Text | None = None
    full_calls: Whole
    partial_calls: Whole
    mean_macs: Positive
    speedup: Positive
    wall_speedup: Positive
    seconds_per_sample: Finite
    psnr: Estimate
    ssim: Estimate
    psnr_difference: Estimate | None = None
    ssim_difference: Estimate | None = None
    own: Estimate | None = None
    own_difference: Estimate | None = None


class HeldOut(Record):
    """The held-out measurement.

    Attributes:
        schedule: the chosen one, ready to be saved.
        chosen: its figures.
        uniform: the best uniform schedule within the budget of MACs, features held; None if none is that cheap, or if
            its images are not finite on the held-out seeds.
        uniform_extrapolated: the same with features reused as the choice does; None if that holds them, or likewise.
        fewer_steps: the uncached sampler with the most steps within the budget; None likewise.
        seeds: that were run, none of them a search seed.
        num_calls, full_macs, seconds_per_sample: of the uncached reference run.
        evaluations: what the study ran, the reference not counted; see `StudyResult.evaluations`.
    """

    schedule: Schedule
    chosen: Comparison
    uniform: Comparison | None = None
    uniform_extrapolated: Comparison | None = None
    fewer_steps: Comparison | None = None
    seeds: Annotated[Several[Whole], Field(min_length=2)]
    num_calls: Count
    full_macs: Count
    seconds_per_sample: Finite
    evaluations: Whole

    @property
    def rows(self) -> list[Comparison]:
        """The chosen schedule, then its rivals."""
        rows = (self.chosen, self.uniform, self.uniform_extrapolated, self.fewer_steps)
        return [row for row in rows if row is not None]

    @property
    def verdict(self) -> str:
        """In plain words: whether the schedule is worth it. Says so if fewer steps do better."""
        chosen, fewer = self.chosen, self.fewer_steps
        uniform = {"held": self.uniform, "extrapolated": self.uniform_extrapolated}
        return words(
            chosen.label,
            uniform={how: (row.label, row.psnr_difference) for how, row in uniform.items() if row is not None},
            fewer=(fewer.steps, fewer.psnr_difference) if fewer is not None else None,
            chosen_is=next(
                (how for how, row in uniform.items() if row and _what_runs(row) == _what_runs(chosen)), None
            ),
        )

    def save(self, path: str | PathLike[str]) -> None:
        """Write JSON atomically."""
        write_atomically(path, self.model_dump_json(by_alias=True, indent=1) + "\n")

    @classmethod
    def load(cls, path: str | PathLike[str]) -> HeldOut:
        """Read what `save` wrote.

        Raises:
            SearchError: the file is something else.
        """
        try:
            content = read_at_most(path, _MAX_BYTES)
            if len(content) > _MAX_BYTES:
                raise SearchError(f"{path}: found more than {_MAX_BYTES} bytes, expected a held-out measurement")
            return cls.model_validate(json.loads(content, object_pairs_hook=unique_keys))
        except (ValidationError, ScheduleError) as error:
            raise SearchError(problems(f"{path}: not a held-out measurement", error)) from error
        except (ValueError, RecursionError) as error:  # no JSON, or not UTF-8
            raise SearchError(f"{path}: not a held-out measurement: {shortened(str(error), 200)}") from error


def _what_runs(row: Comparison) -> tuple[object, ...]:
    """Equal for rows that ran the same, whatever they are called; see `Candidate.key`."""
    reuse = (row.order, row.alpha if row.order else None, row.threshold, row.max_hold)
    return (row.calls, *reuse, row.steps, row.spacing)


def held_out_seeds(result: StudyResult, count: int = 256) -> tuple[int, ...]:
    """`count` seeds above all search seeds of the study, none of which gives the noise of one of those."""
    taken = {noise_of(seed) for seed in result.seeds}
    fresh = (seed for seed in itertools.count(max(result.seeds) + 1) if noise_of(seed) not in taken)
    return tuple(itertools.islice(fresh, count))


def finalize(
    workload: Workload,
    result: StudyResult,
    chosen: Candidate,
    *,
    seeds: Sequence[int] | None = None,
    target_speedup: float | None = None,
    measure_missing: bool = True,
    quality: QualityFunction | None = None,
    progress: Progress | None = None,
) -> HeldOut:
    """Measure a choice on held-out seeds, next to the best uniform schedules and fewer steps within the same budget.

    The budget is what `target_speedup` leaves of the full run's MACs: every contender may use the best setting that the
    target allows. Without a target it is the MACs of the choice.

    MACs are exact here, whatever the study counted by. The best uniform schedule is picked on the search seeds. A rival
    whose images are not finite is left out.

    Args:
        workload: as in the study; its seeds are ignored.
        result: the study.
        chosen: a schedule of the study, see `select`.
        seeds: held-out seeds, at least two; default: 256, see `held_out_seeds`.
        target_speedup: what the choice was made for; sets the budget.
        measure_missing: see `best_uniform`.
        quality: the study's own quality function, if it has one.
        progress: phases "uniform baselines", "held-out: reference", "held-out: schedule" and so on.

    Raises:
        SearchError: a seed was a search seed, workload or quality are not those of the study, or images of the choice
            or of the uncached run are not finite.
    """
    seeds = held_out_seeds(result) if seeds is None else tuple(seeds)
    check_held_out(seeds, result)
    check_same_workload(workload, result)
    check_function(result.metric, quality)
    evaluator = Evaluator(workload.replace(seeds=seeds), quality=quality, progress=held_out_phases(progress))
    macs, base = evaluator.macs, evaluator.measure_candidate(chosen, phase="schedule")
    limit = base.mean_macs
    if target_speedup is not None:
        limit = max(limit, macs.full / target_speedup)
    best = functools.partial(best_uniform, workload, result, macs, limit, measure_missing=measure_missing)
    rivals = _rivals(evaluator, chosen, limit, functools.partial(best, quality=quality, progress=progress))
    speedups = _speedups(evaluator.workload, [chosen, *rivals.values()], held_out_phases(progress))
    rows = {}
    for name, rival in rivals.items():
        try:
            found = (
                base if rival.key == chosen.key else evaluator.measure_candidate(rival, phase=name.replace("_", " "))
            )
        except NoFiguresError:
            continue
        rows[name] = _row(evaluator, rival, found, speedups[rival.key], base)
    return HeldOut(
        schedule=documented(chosen, evaluator, base, result.metric),
        chosen=_row(evaluator, chosen, base, speedups[chosen.key]),
        **rows,
        seeds=seeds,
        num_calls=evaluator.num_calls,
        full_macs=macs.full,
        seconds_per_sample=evaluator.reference.seconds_per_sample,
        evaluations=result.evaluations,
    )


def _rivals(
    evaluator: Evaluator, chosen: Candidate, limit: float, best: Callable[..., Candidate | None]
) -> dict[str, Candidate]:
    """The contenders of at most `limit` mean MACs, by their names in `HeldOut`; `best` finds the uniform ones."""
    found = {"uniform": best()}
    if chosen.order:
        found["uniform_extrapolated"] = best(order=chosen.order, alphas={1.0, chosen.alpha})
    steps = most_steps(evaluator, limit, chosen.spacing)
    if steps is not None:
        found["fewer_steps"] = fewer(steps, chosen.spacing)
    return {name: candidate for name, candidate in found.items() if candidate is not None}


def _speedups(workload: Workload, contenders: Sequence[Candidate], progress: Progress | None) -> dict[str, float]:
    """By key, since what runs the same is timed once."""
    different = {candidate.key: candidate for candidate in contenders}
    return dict(zip(different, wall_speedups(workload, tuple(different.values()), progress=progress), strict=True))


def _row(
    evaluator: Evaluator,
    what: Candidate,
    measured: Measurement,
    wall_speedup: float,
    chosen: Measurement | None = None,
) -> Comparison:
    full, partial, went_on = what.full_calls, what.partial_calls or 0, round(measured.went_on)
    return Comparison(
        origin=what.origin,
        label=what.label,
        calls=what.calls,
        order=what.order,
        alpha=what.alpha,
        threshold=what.threshold,
        max_hold=what.max_hold,
        steps=what.steps,
        spacing=what.spacing,
        full_calls=evaluator.calls_of(what.steps, what.spacing) if full is None else full + went_on,
        partial_calls=partial - went_on,
        mean_macs=measured.mean_macs,
        speedup=measured.speedup,
        wall_speedup=wall_speedup,
        seconds_per_sample=measured.seconds_per_sample,
        psnr=mean_and_ci(measured.psnr),
        ssim=mean_and_ci(measured.ssim),
        psnr_difference=None if chosen is None else paired_difference(chosen.psnr, measured.psnr),
        ssim_difference=None if chosen is None else paired_difference(chosen.ssim, measured.ssim),
        own=None if measured.own is None else mean_and_ci(measured.own),
        own_difference=None
        if measured.own is None or chosen is None or chosen.own is None
        else paired_difference(chosen.own, measured.own),
    )


def check_held_out(seeds: Sequence[int], result: StudyResult) -> None:
    """Raise `SearchError` if a seed was a search seed, or if there are not two different ones."""
    taken = {noise_of(seed) for seed in result.seeds}
    shared = sorted({seed for seed in seeds if noise_of(seed) in taken})
    if shared:
        raise SearchError(
            f"{len(shared)} of the held-out seeds were search seeds (such as {shared[0]}); expected none, "
            "as figures on seeds that the search has seen are too good"
        )
    if len(set(seeds)) < 2 or len(set(seeds)) < len(seeds):
        raise SearchError(f"held-out seeds are {tuple(seeds)}; expected two or more, each once")


def held_out_phases(progress: Progress | None) -> Progress | None:
    """`progress` with "held-out: " before each phase."""
    if progress is None:
        return None
    return lambda phase, done, total: progress(f"held-out: {phase}", done, total)
