"""How fast similarity falls with the distance between two calls."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from deepcadence.reports._style import axes_or_new, cut_look, figure_style
from deepcadence.reports._words import MINUS
from deepcadence.reports.similarity import METRIC_NAMES, Metric, similarity_info
from deepcadence.reports.tables import Table

if TYPE_CHECKING:
    from deepcadence.probe import Profile


@dataclass(frozen=True)
class DistanceInfo:
    """One cut: the values of all pairs of calls that lie `distances[k]` calls apart.

    `low` and `high` are the 10th and 90th percentile over these pairs: how much it matters *where* in the run one is.
    `spread` is the standard deviation over samples, averaged over these pairs: how much it matters *which* sample it
    is; nan where one sample was probed.
    """

    cut: int
    metric: Metric
    distances: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    pairs: tuple[int, ...]
    spread: tuple[float, ...]


def distance_info(
    profile: Profile, metric: Metric = "cosine", max_distance: int | None = None, *, cuts: Iterable[int] | None = None
) -> list[DistanceInfo]:
    """Per cut of `profile`, or each of `cuts`: mean and percentiles of `metric` by the distance j - i in calls, i < j.

    Distances with no measured pair are left out. `max_distance` defaults to half of the run, as the last distances have
    too few pairs to mean much.
    """
    return [_of_cut(profile, cut, metric, max_distance) for cut in (profile.cuts if cuts is None else cuts)]


def _of_cut(profile: Profile, cut: int, metric: Metric, max_distance: int | None) -> DistanceInfo:
    values = similarity_info(profile, cut, metric=metric).values
    last = max(1, profile.num_calls // 2) if max_distance is None else max_distance
    deviations = getattr(profile, f"{metric}_std")[profile.index(cut)].detach().cpu().double().numpy()
    rows: list[tuple[int, float, float, float, int, float]] = []
    for distance in range(1, min(last, profile.num_calls - 1) + 1):
        pairs = np.diagonal(values, offset=distance)
        measured = np.isfinite(pairs)
        pairs = pairs[measured]
        if pairs.size:
            low, high = np.percentile(pairs, (10, 90))
            spread = np.diagonal(deviations, offset=distance)[measured].mean()
            rows.append((distance, float(pairs.mean()), float(low), float(high), int(pairs.size), float(spread)))
    return DistanceInfo(
        cut=cut,
        metric=metric,
        distances=tuple(row[0] for row in rows),
        mean=tuple(row[1] for row in rows),
        low=tuple(row[2] for row in rows),
        high=tuple(row[3] for row in rows),
        pairs=tuple(row[4] for row in rows),
        spread=tuple(row[5] for row in rows),
    )


def distance_table(infos: Iterable[DistanceInfo]) -> Table:
    """One row per cut and distance."""
    columns = ("cut", "distance", "mean", "p10", "p90", "spread_over_samples", "pairs")
    rows = (
        (info.cut, *row)
        for info in infos
        for row in zip(info.distances, info.mean, info.low, info.high, info.spread, info.pairs, strict=True)
    )
    return Table(columns, tuple(rows))


def plot_distance(source: list[DistanceInfo] | Profile, ax: Axes | None = None) -> Axes:
    """Draws one line per cut, with its own color, marker and dashes, and the spread over samples as bars.

    Up to three cuts have the 10th to 90th percentile over the pairs as a band.
    """
    infos = source if isinstance(source, list) else distance_info(source)
    with figure_style():
        ax = axes_or_new(ax, 4.8, 3.0)
        for index, info in enumerate(infos):
            if not info.distances:
                continue
            color, marker, dashes = cut_look(index)
            if len(infos) <= 3:
                ax.fill_between(info.distances, info.low, info.high, color=color, alpha=0.13, linewidth=0)
            marked = slice(None, None, max(1, len(info.distances) // 12))
            ax.errorbar(
                info.distances[marked],
                info.mean[marked],
                yerr=info.spread[marked],
                fmt="none",
                ecolor=color,
                elinewidth=0.9,
                alpha=0.6,
            )
            sns.lineplot(
                x=info.distances,
                y=info.mean,
                ax=ax,
                color=color,
                marker=marker,
                markersize=4.5,
                markeredgewidth=0,
                linestyle=dashes,
                linewidth=1.5,
                markevery=marked,
                label=f"cut {info.cut}",
            )
        ax.set_xlabel(f"distance in calls (j {MINUS} i)")
        ax.set_ylabel(METRIC_NAMES[infos[0].metric] if infos else "")
        ax.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
        ax.set_xlim(0.5, max((info.distances[-1] for info in infos if info.distances), default=1) + 0.5)
        ax.grid(axis="y")
        if any(info.distances for info in infos):
            ax.legend(loc="best", ncols=min(4, 1 + len(infos) // 5), handlelength=2.6)
    return ax
