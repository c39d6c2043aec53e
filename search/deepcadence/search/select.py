"""Picking one schedule from the front of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deepcadence.search.errors import SearchError
from deepcadence.search.results import StudyResult, TrialRecord


def select(
    result: StudyResult,
    *,
    target_speedup: float | None = None,
    max_macs: float | None = None,
    min_quality: Mapping[str, float] | None = None,
) -> TrialRecord:
    """The best schedule of a study within limits.

    Of the schedules within all limits it is the one with the best quality; if quality alone is limited, the cheapest.

    Args:
        result: the study.
        target_speedup: at least so many times fewer MACs.
        max_macs: at most so many MACs of a call on average, per sample.
        min_quality: at least these values on the search seeds, by metric: {"psnr": 30.0} in dB, "ssim", or the
            study's own quality function by its name.

    Raises:
        SearchError: no limit was given, or no schedule of the study is within them; says what is within reach.
    """
    least = dict(min_quality or {})
    if target_speedup is None and max_macs is None and not least:
        raise SearchError("nothing to choose by; give a target speed-up, a maximum of MACs or a minimum quality")
    schedules = [trial for trial in result.trials if trial.calls is not None]
    if not schedules:
        raise SearchError(f"study {result.study_name!r} has no finished schedule to choose from")
    cheap = _cheap(result, schedules, target_speedup, max_macs)
    good = _good(result, cheap, least)
    if target_speedup is None and max_macs is None:
        return max(good, key=lambda trial: (trial.speedup, result.quality(trial)))
    return max(good, key=lambda trial: (result.quality(trial), trial.speedup))


def _cheap(
    result: StudyResult, schedules: Sequence[TrialRecord], target_speedup: float | None, max_macs: float | None
) -> list[TrialRecord]:
    """Those within the limits of cost."""
    fastest = max(schedules, key=lambda trial: trial.speedup)
    reach = (
        f"the cheapest takes {fastest.mean_macs:.4g} MACs a call, {fastest.speedup:.2f} times fewer, at "
        f"{_qualities(result, fastest, [result.metric])}. More trials, larger intervals or an outer cut may reach "
        "further"
    )
    if target_speedup is not None and fastest.speedup < target_speedup:
        raise SearchError(f"no schedule of the study is {target_speedup:g} times cheaper; {reach}")
    if max_macs is not None and fastest.mean_macs > max_macs:
        raise SearchError(f"no schedule of the study takes at most {max_macs:.4g} MACs a call; {reach}")
    return [
        trial
        for trial in schedules
        if (target_speedup is None or trial.speedup >= target_speedup)
        and (max_macs is None or trial.mean_macs <= max_macs)
    ]


def _good(result: StudyResult, cheap: Sequence[TrialRecord], least: Mapping[str, float]) -> list[TrialRecord]:
    """Those of at least such quality."""
    good = [t for t in cheap if all(result.quality(t, metric) >= value for metric, value in least.items())]
    if not good:
        wish = " and ".join(f"{metric} {value:g}" for metric, value in least.items())
        best = max(cheap, key=lambda trial: result.quality(trial, next(iter(least))))
        raise SearchError(
            f"no schedule within the limits of cost has {wish} or more; the best has "
            f"{_qualities(result, best, least)}, at {best.speedup:.2f} times fewer MACs"
        )
    return good


def _qualities(result: StudyResult, trial: TrialRecord, metrics: Mapping[str, float] | Sequence[str]) -> str:
    return " and ".join(f"{metric} {result.quality(trial, metric):.4g}" for metric in metrics)
