"""Quality against cost: every trial of a study, by where it came from, and the front of the best."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from deepcadence.reports._style import (
    CHOSEN,
    FEWER_STEPS,
    PREDICTED,
    PUBLISHED,
    SEARCH,
    SURFACE,
    UNIFORM,
    axes_or_new,
    figure_style,
)

if TYPE_CHECKING:
    from deepcadence.search import StudyResult, TrialRecord

PSNR_CAP: Final = 100.0
"""PSNR, in dB, that stands for images equal to those of the full run."""

ORIGIN_NAMES: Final[dict[str, str]] = {
    "nonuniform": "searched (c, p)",
    "predicted": "predicted",
    "uniform": "uniform 1:N",
    "published": "published (c, p)",
    "fewer_steps": "fewer steps",
}
_LOOKS: Final[dict[str, tuple[str, str, float]]] = {
    "nonuniform": (SEARCH, "o", 22.0),
    "predicted": (PREDICTED, "D", 24.0),
    "uniform": (UNIFORM, "s", 30.0),
    "published": (PUBLISHED, "^", 42.0),
    "fewer_steps": (FEWER_STEPS, "X", 42.0),
}
_MAX_MARKERS: Final = 1500
_QUALITY_NAMES: Final = {"psnr": "PSNR to the full run (dB)", "ssim": "SSIM to the full run"}


@dataclass(frozen=True)
class FrontPoint:
    """One trial. `macs` are per call of the reference run and per sample; `quality` is in the metric's unit."""

    number: int
    origin: str
    label: str
    macs: float
    speedup: float
    quality: float
    on_front: bool
    chosen: bool


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


def front_info(study: StudyResult, chosen: int | Iterable[int] = ()) -> FrontInfo:
    """The trials of `study` as points, with those on its front and those `chosen` (trial numbers) told apart.

    Quality is the metric of the study. The front is that of the schedules: fewer steps are what it must beat.
    """
    metric = study.metric
    chosen = {chosen} if isinstance(chosen, int) else set(chosen)
    on_front = {trial.number for trial in study.front()}
    differing = [trial for trial in study.trials if not _equals_reference(trial)]
    points = [
        _point(trial, study.quality(trial), trial.number in on_front, trial.number in chosen) for trial in differing
    ]
    return FrontInfo(
        metric=metric,
        full_macs=float(study.full_macs),
        points=tuple(sorted(points, key=lambda point: (point.macs, point.number))),
        left_out=len(study.trials) - len(differing),
    )


def _equals_reference(trial: TrialRecord) -> bool:
    return trial.psnr >= PSNR_CAP


def _point(trial: TrialRecord, quality: float, on_front: bool, chosen: bool) -> FrontPoint:
    return FrontPoint(
        number=trial.number,
        origin=trial.origin,
        label=trial.label,
        macs=float(trial.mean_macs),
        speedup=float(trial.speedup),
        quality=quality,
        on_front=on_front,
        chosen=chosen,
    )


def plot_front(info: FrontInfo, ax: Axes | None = None) -> Axes:
    """Draws quality against mean MACs: a marker shape per origin, the front as steps, a ring around the chosen."""
    with figure_style():
        ax = axes_or_new(ax, 5.0, 3.4)
        unit, name = mac_unit(info.full_macs)
        front = info.front
        ax.plot(
            [point.macs / unit for point in front],
            [point.quality for point in front],
            drawstyle="steps-post",
            color=CHOSEN,
            linewidth=1.1,
            alpha=0.75,
            label="front of the schedules",
            zorder=1,
        )
        fewer = [point for point in info.points if point.origin == "fewer_steps"]
        ax.plot(
            [point.macs / unit for point in fewer],
            [point.quality for point in fewer],
            color=FEWER_STEPS,
            linewidth=1.0,
            linestyle=(0, (4, 2.5)),
            zorder=1,
        )
        for origin, (color, marker, size) in _LOOKS.items():
            points = [point for point in info.points if point.origin == origin]
            if points:
                sns.scatterplot(
                    x=[point.macs / unit for point in points],
                    y=[point.quality for point in points],
                    ax=ax,
                    color=color,
                    marker=marker,
                    s=size,
                    edgecolor=SURFACE,
                    linewidth=0.6,
                    label=ORIGIN_NAMES[origin],
                    rasterized=len(points) > _MAX_MARKERS,
                    zorder=2 if origin == "nonuniform" else 3,
                )
        for index, point in enumerate(point for point in info.points if point.chosen):
            ax.scatter(
                [point.macs / unit],
                [point.quality],
                s=150,
                facecolor="none",
                edgecolor=CHOSEN,
                linewidth=1.6,
                label="chosen" if index == 0 else None,
                zorder=4,
            )
        ax.set_xlabel(f"mean MACs per call ({name}MACs; the full run: {info.full_macs / unit:.3g})")
        ax.set_ylabel(_QUALITY_NAMES.get(info.metric, info.metric))
        ax.yaxis.set_major_locator(MaxNLocator(nbins=6))
        ax.xaxis.set_major_locator(MaxNLocator(nbins=6))
        ax.grid()
        ax.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3, columnspacing=1.4, handletextpad=0.5)
    return ax


def mac_unit(macs: float) -> tuple[float, str]:
    """Divisor and SI prefix in which `macs` reads well: (1e9, "G") for 3.4e11."""
    for unit, name in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if macs >= unit:
            return unit, name
    return 1.0, ""
