"""Picking one schedule from the front of a study."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from deepcadence.search.contenders import ROUNDING
from deepcadence.search.errors import SearchError
from deepcadence.search.results import StudyResult, TrialRecord
from deepcadence.search.timing import CallSeconds


def select(
    result: StudyResult,
    *,
    target_speedup: float | None = None,
    max_macs: float | None = None,
    min_quality: Mapping[str, float] | None = None,
    seconds: CallSeconds | None = None,
) -> TrialRecord:
    """The best schedule of a study within limits.

    Of the schedules within all limits it is the one with the best quality; if quality alone is limited, the cheapest.
    One that costs exactly what a limit says is within it, whichever way its figures were rounded.

    Args:
        result: the study.
        target_speedup: at least so many times cheaper than full calls only.
        max_macs: at most so many MACs of a call on average, per sample.
        min_quality: at least these values on the search seeds, by metric: {"psnr": 30.0} in dB, "ssim", or the
            study's own quality function by its name.
        seconds: makes time the cost, on the device where it was measured, see `call_seconds`; else MACs are.

    Raises:
        SearchError: no limit was given, or no schedule of the study is within them; says what is within reach.
    """
    least = dict(min_quality or {})
    if target_speedup is None and max_macs is None and not least:
        raise SearchError("nothing to choose by; give a target speed-up, a maximum of MACs or a minimum quality")
    schedules = [trial for trial in result.trials if trial.calls is not None]
    if not schedules:
        raise SearchError(f"study {result.study_name!r} has no finished schedule to choose from")
    speedup = {t.number: t.speedup if seconds is None else seconds.speedup(t) for t in schedules}

    def said(trial: TrialRecord, metrics: Iterable[str]) -> str:
        values = " and ".join(f"{metric} {result.quality(trial, metric):.4g}" for metric in metrics)
        return f"has {values}, {speedup[trial.number]:.2f} times cheaper, with {trial.mean_macs:.4g} mean MACs"

    cheap = [
        trial
        for trial in schedules
        if (target_speedup is None or speedup[trial.number] * ROUNDING >= target_speedup)
        and (max_macs is None or trial.mean_macs <= max_macs * ROUNDING)
    ]
    if not cheap:
        cheapest = max(schedules, key=lambda trial: speedup[trial.number])
        raise SearchError(
            f"no schedule of the study is {_wish(target_speedup, max_macs)}; the cheapest "
            f"{said(cheapest, [result.metric])}. More trials, larger intervals or an outer cut may reach further"
        )
    good = [t for t in cheap if all(result.quality(t, metric) >= value for metric, value in least.items())]
    if not good:
        wanted = " and ".join(f"{metric} {value:g}" for metric, value in least.items())
        best = max(cheap, key=lambda trial: result.quality(trial, next(iter(least))))
        raise SearchError(f"no schedule within the limits of cost has {wanted} or more; the best {said(best, least)}")
    if target_speedup is None and max_macs is None:
        return max(good, key=lambda trial: (speedup[trial.number], result.quality(trial)))
    return max(good, key=lambda trial: (result.quality(trial), speedup[trial.number]))


def _wish(target_speedup: float | None, max_macs: float | None) -> str:
    """The limits of cost in words."""
    words = [] if target_speedup is None else [f"{target_speedup:g} times cheaper"]
    words += [] if max_macs is None else [f"of at most {max_macs:.4g} mean MACs"]
    return " and ".join(words)
