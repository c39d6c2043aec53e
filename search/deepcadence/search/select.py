"""Picking one schedule from the front of a study."""

from __future__ import annotations

from deepcadence.search.errors import SearchError
from deepcadence.search.results import StudyResult, TrialRecord


def select(result: StudyResult, *, target_speedup: float | None = None, min_psnr: float | None = None) -> TrialRecord:
    """The best schedule of a study for a wish: always one of the front.

    Args:
        result: the study.
        target_speedup: at least so many times fewer MACs; of those the one with the best quality.
        min_psnr: at least so many dB on the search seeds; of those the cheapest. With `target_speedup` too, of those
            that satisfy both the one with the best quality.

    Raises:
        SearchError: no wish was given, or no schedule of the front satisfies it; says what is within reach.
    """
    if target_speedup is None and min_psnr is None:
        raise SearchError("nothing to choose by; give a target speed-up or a minimum PSNR")
    schedules = [trial for trial in result.trials if trial.calls is not None]
    if not schedules:
        raise SearchError(f"study {result.study_name!r} has no finished schedule to choose from")
    fast = [trial for trial in schedules if target_speedup is None or trial.speedup >= target_speedup]
    if not fast:
        best = max(schedules, key=lambda trial: trial.speedup)
        raise SearchError(
            f"no schedule of the study is {target_speedup:g} times cheaper; the cheapest is {best.speedup:.2f} times, "
            f"at {best.psnr:.2f} dB. More trials, larger intervals or an outer cut may reach further"
        )
    good = [trial for trial in fast if min_psnr is None or trial.psnr >= min_psnr]
    if not good:
        best = max(fast, key=lambda trial: trial.psnr)
        raise SearchError(
            f"no schedule{f' of at least {target_speedup:g} times' if target_speedup else ''} reaches {min_psnr:g} dB; "
            f"the best has {best.psnr:.2f} dB, at {best.speedup:.2f} times fewer MACs"
        )
    if target_speedup is None:
        return max(good, key=lambda trial: (trial.speedup, trial.psnr))
    return max(good, key=lambda trial: (result.quality(trial), trial.speedup))
