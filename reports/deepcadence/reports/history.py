"""How a study went: what each trial measured, and how the front grew."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from deepcadence.reports._origins import scatter_by_origin
from deepcadence.reports._style import CHOSEN, axes_or_new, figure_style
from deepcadence.reports.front import PSNR_CAP
from deepcadence.reports.tables import Table

if TYPE_CHECKING:
    from deepcadence.search import StudyResult

__all__ = ["HistoryInfo", "HistoryPoint", "history_info", "plot_history"]


@dataclass(frozen=True)
class HistoryPoint:
    """One trial. `share` is the area under the front after it, as a share of that in the end.

    `improved` says that the trial enlarged it.
    """

    number: int
    origin: str
    label: str
    macs: float
    quality: float
    share: float
    improved: bool


@dataclass(frozen=True)
class HistoryInfo:
    """The trials that are schedules and differ from the full run, in the order in which they were begun."""

    metric: str
    points: tuple[HistoryPoint, ...]

    @property
    def table(self) -> Table:
        """One row per trial; `quality` has the metric's name."""
        columns = ("number", "origin", "label", "macs", "quality", "share", "improved")
        rows = (tuple(getattr(point, name) for name in columns) for point in self.points)
        return Table(tuple(self.metric if name == "quality" else name for name in columns), tuple(rows))


def history_info(study: StudyResult) -> HistoryInfo:
    """How the front of `study` grew, trial by trial.

    The area is the hypervolume of both objectives (Zitzler and Thiele 1998): it is bounded by the MACs of the full
    run and by the lowest quality that any of these trials has.
    """
    trials = sorted(
        (trial for trial in study.trials if trial.calls is not None and trial.psnr < PSNR_CAP),
        key=lambda trial: trial.number,
    )
    floor = min((study.quality(trial) for trial in trials), default=0.0)
    front: list[tuple[float, float]] = []
    before = [0.0]
    for trial in trials:
        front = _front([*front, (float(trial.mean_macs), study.quality(trial) - floor)])
        before.append(_area(front, float(study.full_macs)))
    total = before[-1] or 1.0
    return HistoryInfo(
        metric=study.metric,
        points=tuple(
            HistoryPoint(
                number=trial.number,
                origin=trial.origin,
                label=trial.label,
                macs=float(trial.mean_macs),
                quality=study.quality(trial),
                share=area / total,
                improved=area > earlier,
            )
            for trial, (earlier, area) in zip(trials, pairwise(before), strict=True)
        ),
    )


def _front(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The (cost, gain) points that no other beats in both, cheapest first."""
    front: list[tuple[float, float]] = []
    for cost, gain in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or gain > front[-1][1]:
            front.append((cost, gain))
    return front


def _area(front: list[tuple[float, float]], edge: float) -> float:
    """What a front dominates, up to cost `edge` and down to gain 0."""
    gains = [0.0, *(gain for _, gain in front)]
    return sum(max(0.0, edge - cost) * (gain - below) for (cost, gain), below in zip(front, gains, strict=False))


def plot_history(source: HistoryInfo | StudyResult, ax: Axes | None = None) -> Axes:
    """Draws the area under the front against the number of the trial, with a marker wherever it grew."""
    info = source if isinstance(source, HistoryInfo) else history_info(source)
    with figure_style():
        ax = axes_or_new(ax, 4.8, 3.0)
        ax.plot(
            [point.number for point in info.points],
            [point.share for point in info.points],
            drawstyle="steps-post",
            color=CHOSEN,
            linewidth=1.1,
            alpha=0.75,
            zorder=1,
        )
        scatter_by_origin(ax, [(point.origin, point.number, point.share) for point in info.points if point.improved])
        ax.set_xlabel("trial")
        ax.set_ylabel("area under the front")
        ax.set_ylim(0, 1.05)
        ax.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
        ax.yaxis.set_major_formatter(PercentFormatter(xmax=1.0, decimals=0))
        ax.grid()
        if any(point.improved for point in info.points):
            ax.legend(loc="lower right")
    return ax
