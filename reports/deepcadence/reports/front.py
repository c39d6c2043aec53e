"""Quality against cost: every trial of a study, by where it came from, and the front of the best."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from deepcadence.reports._origins import scatter_by_origin
from deepcadence.reports._style import CHOSEN, FEWER_STEPS, axes_or_new, figure_style
from deepcadence.reports._words import in_two_lines
from deepcadence.reports.tables import Table
from deepcadence.schedules import Cost, Schedule

if TYPE_CHECKING:
    from deepcadence.search import StudyResult, TrialRecord

PSNR_CAP: Final = 100.0
"""PSNR, in dB, that stands for images equal to those of the full run."""

QUALITY_NAMES: Final = {"psnr": "PSNR to the full run (dB)", "ssim": "SSIM to the full run"}


@dataclass(frozen=True)
class FrontPoint:
    """One trial. `macs` are per call of the reference run and per sample; `quality` is in the metric's unit.

    `schedule` is what ran, with model, sampler and cost; None for fewer steps. It says nothing about quality, which on
    search seeds comes out too good.
    """

    number: int
    origin: str
    label: str
    macs: float
    speedup: float
    quality: float
    on_front: bool
    chosen: bool
    schedule: Schedule | None


@dataclass(frozen=True)
class FrontInfo:
    """All trials that differ from the full run, cheapest first. `left_out` counts those that equal it."""

    metric: str
    full_macs: float
    points: tuple[FrontPoint, ...]
    left_out: int

    @property
    def front(self) -> tuple[FrontPoint, ...]:
        """The points of the study's front, cheapest first."""
        return tuple(point for point in self.points if point.on_front)

    @property
    def table(self) -> Table:
        """One row per trial; `quality` has the metric's name, and `calls` are F for full, else the cut."""
        columns = ("number", "origin", "label", "macs", "speedup", "quality", "on_front", "chosen")
        rows = ((*(getattr(point, name) for name in columns), _calls(point.schedule)) for point in self.points)
        names = (self.metric if name == "quality" else name for name in (*columns, "calls"))
        return Table(tuple(names), tuple(rows))


def front_info(study: StudyResult, chosen: int | Iterable[int] = ()) -> FrontInfo:
    """The trials of `study` as points, with those on its front and those `chosen` (trial numbers) told apart.

    Quality is the metric of the study. The front is that of the schedules: fewer steps are what it must beat.
    """
    metric = study.metric
    chosen = {chosen} if isinstance(chosen, int) else set(chosen)
    on_front = {trial.number for trial in study.front()}
    differing = [trial for trial in study.trials if not _equals_reference(trial)]
    points = [
        _point(study, trial, on_front=trial.number in on_front, chosen=trial.number in chosen) for trial in differing
    ]
    return FrontInfo(
        metric=metric,
        full_macs=float(study.full_macs),
        points=tuple(sorted(points, key=lambda point: (point.macs, point.number))),
        left_out=len(study.trials) - len(differing),
    )


def _equals_reference(trial: TrialRecord) -> bool:
    return trial.psnr >= PSNR_CAP


def _point(study: StudyResult, trial: TrialRecord, *, on_front: bool, chosen: bool) -> FrontPoint:
    return FrontPoint(
        number=trial.number,
        origin=trial.origin,
        label=trial.label,
        macs=float(trial.mean_macs),
        speedup=float(trial.speedup),
        quality=study.quality(trial),
        on_front=on_front,
        chosen=chosen,
        schedule=None if trial.calls is None else _schedule(study, trial),
    )


def _schedule(study: StudyResult, trial: TrialRecord) -> Schedule:
    """The schedule of a trial with what the study knows about its model, sampler and cost."""
    plain = trial.schedule()
    layers = {cut: study.model.cuts[cut] for cut in plain.cuts}
    return Schedule(
        calls=plain.calls,
        reuse=plain.reuse,
        generator=plain.generator,
        model=study.model.model_copy(update={"cuts": layers}),
        sampler=study.sampler,
        cost=Cost(
            counter=study.counter,
            full_macs=study.full_macs,
            partial_macs={cut: study.partial_macs[cut] for cut in plain.cuts},
            mean_macs=trial.mean_macs,
            speedup=trial.speedup,
            sample_shape=study.sample_shape,
        ),
    )


def _calls(schedule: Schedule | None) -> str:
    return "" if schedule is None else " ".join("F" if call == "full" else str(call) for call in schedule.calls)


def plot_front(source: FrontInfo | StudyResult, ax: Axes | None = None) -> Axes:
    """Draws quality against mean MACs: a marker shape per origin, the front as steps, a ring around the chosen."""
    info = source if isinstance(source, FrontInfo) else front_info(source)
    with figure_style():
        ax = axes_or_new(ax, 5.0, 3.4)
        front = info.front
        ax.plot(
            [giga(point.macs) for point in front],
            [point.quality for point in front],
            drawstyle="steps-post",
            color=CHOSEN,
            linewidth=1.1,
            alpha=0.75,
            label="front",
            zorder=1,
        )
        fewer = [point for point in info.points if point.origin == "fewer_steps"]
        ax.plot(
            [giga(point.macs) for point in fewer],
            [point.quality for point in fewer],
            color=FEWER_STEPS,
            linewidth=1.0,
            linestyle=(0, (4, 2.5)),
            zorder=1,
        )
        scatter_by_origin(ax, [(point.origin, giga(point.macs), point.quality) for point in info.points])
        for index, point in enumerate(point for point in info.points if point.chosen):
            ax.scatter(
                [giga(point.macs)],
                [point.quality],
                s=150,
                facecolor="none",
                edgecolor=CHOSEN,
                linewidth=1.6,
                label="chosen" if index == 0 else None,
                zorder=4,
            )
        ax.set_xlabel(f"mean GMACs per call (the full run: {macs_text(info.full_macs)})")
        ax.set_ylabel(quality_name(info.metric))
        ax.yaxis.set_major_locator(MaxNLocator(nbins=6))
        ax.xaxis.set_major_locator(MaxNLocator(nbins=6))
        ax.grid()
        ax.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3, columnspacing=1.4, handletextpad=0.5)
    return ax


def quality_name(metric: str) -> str:
    """What an axis is called on which this metric stands, on two lines at most."""
    return QUALITY_NAMES.get(metric) or in_two_lines(metric)


def giga(macs: float) -> float:
    """In GMACs, the unit of all figures, pages and commands."""
    return macs / 1e9


def macs_text(macs: float) -> str:
    """`338.83`, `0.3961`: GMACs with two decimals, or four below one."""
    return f"{giga(macs):.{2 if macs >= 1e9 else 4}f}"
