"""How far the predictor of a study was right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from deepcadence.reports._origins import scatter_by_origin
from deepcadence.reports._style import MUTED, axes_or_new, figure_style
from deepcadence.reports.front import PSNR_CAP, quality_name
from deepcadence.reports.tables import Table

if TYPE_CHECKING:
    from deepcadence.search import StudyResult

__all__ = ["PredictedPoint", "PredictionInfo", "plot_prediction", "prediction_info"]


@dataclass(frozen=True)
class PredictedPoint:
    """One trial: the PSNR that was predicted, in dB, and what was measured, in the metric's unit."""

    number: int
    origin: str
    label: str
    predicted: float
    measured: float


@dataclass(frozen=True)
class PredictionInfo:
    """The trials whose quality was predicted, and Spearman's rank correlation over them; None for fewer than three."""

    metric: str
    points: tuple[PredictedPoint, ...]
    spearman: float | None

    @property
    def table(self) -> Table:
        """One row per trial; `measured` has the metric's name."""
        columns = ("number", "origin", "label", "predicted_psnr", self.metric)
        rows = ((each.number, each.origin, each.label, each.predicted, each.measured) for each in self.points)
        return Table(columns, tuple(rows))


def prediction_info(study: StudyResult) -> PredictionInfo:
    """What the predictor of `study` said of each trial, next to what was measured; trials it said nothing of are out.

    The rank correlation is that of the study, which counts schedules that run the same once.
    """
    predicted = study.predictor.predicted if study.predictor is not None else {}
    points = (
        PredictedPoint(trial.number, trial.origin, trial.label, predicted[trial.key], study.quality(trial))
        for trial in study.trials
        if trial.key in predicted and trial.psnr < PSNR_CAP
    )
    agreement = study.agreement
    return PredictionInfo(study.metric, tuple(points), None if agreement is None else agreement.spearman)


def plot_prediction(source: PredictionInfo | StudyResult, ax: Axes | None = None) -> Axes:
    """Draws measured quality against predicted PSNR; where both are PSNR, with the line on which they are equal."""
    info = source if isinstance(source, PredictionInfo) else prediction_info(source)
    with figure_style():
        ax = axes_or_new(ax, 4.8, 3.0)
        scatter_by_origin(ax, [(point.origin, point.predicted, point.measured) for point in info.points])
        if info.metric == "psnr" and info.points:
            values = [value for point in info.points for value in (point.predicted, point.measured)]
            ends = [min(values), max(values)]
            ax.plot(ends, ends, color=MUTED, linewidth=1.0, linestyle=(0, (4, 2.5)), label="equal", zorder=1)
        ax.set_xlabel("predicted PSNR (dB)")
        ax.set_ylabel(f"measured {quality_name(info.metric)}")
        ax.xaxis.set_major_locator(MaxNLocator(nbins=6))
        ax.yaxis.set_major_locator(MaxNLocator(nbins=6))
        ax.grid()
        if info.points:
            ax.legend(loc="best")
    return ax
