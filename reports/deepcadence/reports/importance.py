"""Which parameters of the search matter, for quality and for cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from deepcadence.reports._style import SEARCH, UNIFORM, axes_or_new, figure_style
from deepcadence.reports._words import in_two_lines
from deepcadence.reports.front import PSNR_CAP
from deepcadence.reports.tables import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deepcadence.search import StudyResult, TrialRecord

__all__ = ["ImportanceInfo", "ParameterImportance", "importance_info", "plot_importance"]

FEWEST: Final = 20
"""Fewer trials than these say nothing about a parameter: a quarter of them has to be five at least."""

_BEST: Final = 0.25
_SHARED: Final = ("interval", "cut", "order")
_SEARCHED: Final = (*_SHARED, "center", "power")
_CATEGORIES: Final = ("cut", "order")


@dataclass(frozen=True)
class ParameterImportance:
    """One parameter; each column sums to 1 over the parameters."""

    name: str
    quality: float
    macs: float


@dataclass(frozen=True)
class ImportanceInfo:
    """The parameters, the most important for quality first, judged by so many `trials`; none where they are too few."""

    metric: str
    parameters: tuple[ParameterImportance, ...]
    trials: int

    @property
    def table(self) -> Table:
        """One row per parameter; the column of quality has the metric's name."""
        rows = ((each.name, each.quality, each.macs) for each in self.parameters)
        return Table(("parameter", self.metric, "macs"), tuple(rows))


def importance_info(study: StudyResult) -> ImportanceInfo:
    """How much each parameter matters for being among the best quarter of the trials, in quality and in MACs.

    By PED-ANOVA (Watanabe et al., IJCAI 2023), as Optuna computes it. All five parameters are judged by the trials of
    the search, where these are 20 or more. With fewer, interval, cut and order are, by all trials that have them:
    uniform and published schedules too.
    """
    trials, names = _judged(study)
    columns = {name: [getattr(trial, name) for trial in trials] for name in names}
    columns = {name: values for name, values in columns.items() if len(set(values)) > 1}
    if len(trials) < FEWEST or len(columns) < 2:
        return ImportanceInfo(study.metric, (), len(trials))
    quality = _importance(columns, [-study.quality(trial) for trial in trials])
    macs = _importance(columns, [trial.mean_macs for trial in trials])
    rows = (ParameterImportance(name, quality[name], macs[name]) for name in columns)
    return ImportanceInfo(study.metric, tuple(sorted(rows, key=lambda row: -row.quality)), len(trials))


def _judged(study: StudyResult) -> tuple[list[TrialRecord], tuple[str, ...]]:
    differing = [trial for trial in study.trials if trial.calls is not None and trial.psnr < PSNR_CAP]
    searched = _with([trial for trial in differing if trial.origin == "nonuniform"], _SEARCHED)
    return (searched, _SEARCHED) if len(searched) >= FEWEST else (_with(differing, _SHARED), _SHARED)


def _with(trials: list[TrialRecord], names: tuple[str, ...]) -> list[TrialRecord]:
    """Those of which all these parameters are known."""
    return [trial for trial in trials if all(getattr(trial, name) is not None for name in names)]


def _importance(columns: dict[str, list[Any]], values: Sequence[float]) -> dict[str, float]:
    """Parameter -> importance for low `values`; sums to 1."""
    import optuna

    from deepcadence.search.storage import quiet

    distributions = {name: _distribution(name, found) for name, found in columns.items()}
    with quiet():
        study = optuna.create_study(direction="minimize")
        for place, value in enumerate(values):
            params = {name: found[place] for name, found in columns.items()}
            study.add_trial(optuna.create_trial(params=params, distributions=distributions, value=value))
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=_BEST)
        return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))


def _distribution(name: str, values: list[Any]) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if name in _CATEGORIES:
        return CategoricalDistribution(sorted(set(values)))
    return FloatDistribution(min(values), max(values))


def plot_importance(source: ImportanceInfo | StudyResult, ax: Axes | None = None) -> Axes:
    """Draws two bars per parameter: its importance for quality, and below it, hatched, that for MACs."""
    info = source if isinstance(source, ImportanceInfo) else importance_info(source)
    with figure_style():
        ax = axes_or_new(ax, 4.8, 0.9 + 0.45 * max(1, len(info.parameters)))
        rows = range(len(info.parameters))
        quality = [each.quality for each in info.parameters]
        macs = [each.macs for each in info.parameters]
        ax.barh(
            [row - 0.2 for row in rows],
            quality,
            color=SEARCH,
            height=0.36,
            label=f"for {in_two_lines(info.metric.upper(), 24)}",
        )
        ax.barh([row + 0.2 for row in rows], macs, height=0.36, facecolor="none", edgecolor=UNIFORM, linewidth=1.2,
                hatch="////", label="for MACs")  # fmt: skip
        ax.set_yticks(rows, [each.name for each in info.parameters])
        ax.tick_params(axis="y", length=0)
        ax.invert_yaxis()
        ax.set_xlim(0, 1)
        ax.xaxis.set_major_formatter(PercentFormatter(xmax=1.0, decimals=0))
        ax.set_xlabel("importance for being in the best quarter")
        ax.grid(axis="x")
        if info.parameters:
            ax.legend(loc="lower right")
    return ax
