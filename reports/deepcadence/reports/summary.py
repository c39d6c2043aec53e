"""What a report says first: a sentence, what else to know, and the main figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from deepcadence.reports._words import named, times
from deepcadence.reports.comparison import ComparisonInfo, Outcome
from deepcadence.reports.distance import distance_info
from deepcadence.reports.timeline import timeline_info
from deepcadence.schedules.fields import shortened

if TYPE_CHECKING:
    from deepcadence.probe import Profile
    from deepcadence.schedules import Schedule
    from deepcadence.search import Estimate, StudyResult, TrialRecord

__all__ = ["Summary", "Tile", "chosen_trial", "summarize"]

_LONGEST: Final = 1000
"""A verdict is shorter, unless it names a schedule by a very long label."""


@dataclass(frozen=True)
class Tile:
    """One figure to be seen at a glance."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Summary:
    """`outcome` says how the chosen schedule does against its rivals, None where there are none."""

    headline: str
    details: tuple[str, ...] = ()
    outcome: Outcome | None = None
    tiles: tuple[Tile, ...] = ()


def summarize(
    profile: Profile | None, study: StudyResult | None, comparison: ComparisonInfo | None, schedule: Schedule | None
) -> Summary:
    """The strongest statement that what is given supports: held-out figures before search figures before a profile."""
    if comparison is not None:
        return Summary(
            shortened(comparison.verdict, _LONGEST),
            (_measured(comparison),),
            comparison.outcome,
            _comparison_tiles(comparison),
        )
    if schedule is not None and schedule.quality:
        return _of_schedule(schedule)
    if study is not None:
        return _of_study(study, schedule)
    if profile is not None:
        return _of_profile(profile)
    calls = timeline_info(schedule).sentence if schedule is not None else "No calls"
    return Summary(f"{calls}. Nothing was measured.")


def chosen_trial(study: StudyResult, schedule: Schedule | None) -> TrialRecord | None:
    """The trial of `study` that ran `schedule`, if any: the same calls, features reused alike, the same spacing."""
    if schedule is None:
        return None
    return next((trial for trial in study.trials if _ran(trial, schedule, study)), None)


def _ran(trial: TrialRecord, schedule: Schedule, study: StudyResult) -> bool:
    if trial.calls != schedule.calls or trial.reuse != schedule.reuse:
        return False
    wanted = schedule.sampler.timestep_spacing if schedule.sampler is not None else None
    return wanted is None or wanted == (trial.spacing or study.sampler.timestep_spacing)


def _measured(info: ComparisonInfo) -> str:
    row = info.chosen
    slower = row.wall_speedup < 1
    clock = f"but {times(1 / row.wall_speedup)} slower" if slower else f"and {times(row.wall_speedup)} faster"
    return (
        f"The chosen schedule ({named(row.label)}) is {times(row.speedup)} cheaper in MACs {clock} by the clock. "
        f"Measured on {info.samples} held-out samples against the full run on the same seeds."
    )


def _comparison_tiles(info: ComparisonInfo) -> tuple[Tile, ...]:
    row = info.chosen
    return (
        Tile("MAC speed-up", times(row.speedup), f"{row.full_calls} full + {row.partial_calls} partial calls"),
        Tile("Wall-clock speed-up", times(row.wall_speedup), "measured, image decoding included"),
        Tile("PSNR to the full run", f"{row.psnr.mean:.1f} dB", _range(row.psnr, 1)),
        Tile("SSIM to the full run", f"{row.ssim.mean:.3f}", _range(row.ssim, 3)),
    )


def _range(value: Estimate, digits: int) -> str:
    return f"95% interval {value.ci95[0]:.{digits}f} to {value.ci95[1]:.{digits}f}"


def _of_schedule(schedule: Schedule) -> Summary:
    qualities = schedule.quality or ()
    cost = schedule.cost
    tiles = [
        Tile(
            named(quality.metric.upper()),
            f"{quality.value:.4g} {named(quality.unit)}".strip(),
            (f"95% {quality.ci95[0]:.4g} to {quality.ci95[1]:.4g}, " if quality.ci95 else "")
            + f"{quality.samples} samples",
        )
        for quality in qualities
    ]
    speed = "The schedule"
    if cost is not None and cost.speedup is not None:
        tiles.insert(0, Tile("MAC speed-up", times(cost.speedup), f"counter “{cost.counter}”"))
        speed = f"At a MAC speed-up of {times(cost.speedup)} the schedule"
    best = qualities[0]
    return Summary(
        f"{speed} has a {named(best.metric.upper())} of {best.value:.4g} {named(best.unit)}".rstrip()
        + f" to “{named(best.reference)}” on {best.samples} samples ({best.seeds} seeds).",
        ("As stated in the schedule file; this report was given no comparison with fewer steps or uniform schedules.",),
        tiles=tuple(tiles),
    )


def _of_study(study: StudyResult, schedule: Schedule | None) -> Summary:
    front = sorted(study.front(), key=lambda trial: trial.speedup)
    note = "Measured on the search seeds only, so a little too good: held-out figures are still to come."
    trial = chosen_trial(study, schedule)
    if trial is not None:
        text = (
            f"In the search, the schedule reaches {trial.psnr:.1f} dB PSNR at a MAC speed-up of {times(trial.speedup)}."
        )
    elif front:
        slow, fast = front[0], front[-1]
        text = (
            f"{len(study.trials)} trials; the best trade-offs run from {slow.psnr:.1f} dB at {times(slow.speedup)} "
            f"to {fast.psnr:.1f} dB at {times(fast.speedup)} fewer MACs."
        )
    else:
        return Summary("The study has no finished trial yet.")
    return Summary(text, (note,))


def _of_profile(profile: Profile) -> Summary:
    near = [(info.mean[0], info.cut) for info in distance_info(profile, max_distance=1) if info.mean]
    if not near:
        return Summary(f"A profile of {len(profile.cuts)} cuts over {profile.num_calls} calls.")
    (low, low_cut), (high, high_cut) = min(near), max(near)
    if len(near) == 1:
        return Summary(f"From one call to the next, the feature at cut {low_cut} has a cosine similarity of {low:.3f}.")
    return Summary(
        f"From one call to the next, features have a mean cosine similarity of {low:.3f} (cut {low_cut}) "
        f"to {high:.3f} (cut {high_cut})."
    )
