"""How similar a deep feature is between any two calls of a run, one heat map per cut."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Literal, get_args, overload

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from deepcadence.reports._style import axes_or_new, figure_style
from deepcadence.reports.tables import Table

if TYPE_CHECKING:
    from deepcadence.probe import Profile
    from deepcadence.schedules import Schedule

Metric = Literal["cosine", "relative_l2", "relative_l1", "output_error"]
"""A matrix of a profile. `cosine` is a similarity (1 is equal), the others are errors (0 is equal)."""

METRIC_NAMES: Final[dict[str, str]] = {
    "cosine": "cosine similarity",
    "relative_l2": "relative L2 distance",
    "relative_l1": "relative L1 distance",
    "output_error": "relative L2 error of the output",
}

_MAX_PIXELS: Final = 250
"""Longer runs are drawn with every second, third, ... call, so that a page with many cuts stays small."""

MAX_FRAMES: Final = 250
"""More full calls than these are not marked: their frames would cover the map."""


@dataclass(frozen=True, eq=False)
class SimilarityInfo:
    """One matrix of one cut. `values[i, j]` compares calls i and j, shape (calls, calls), nan where not measured."""

    cut: int
    layer: str
    metric: Metric
    num_calls: int
    values: NDArray[np.float64]
    full_calls: tuple[int, ...]
    """Full calls of the schedule to mark, empty where there is none."""

    @property
    def finite_range(self) -> tuple[float, float]:
        """Smallest and largest measured value off the diagonal; (0, 1) where nothing was measured."""
        off = self.values[~np.eye(self.num_calls, dtype=bool)]
        off = off[np.isfinite(off)]
        return (float(off.min()), float(off.max())) if off.size else (0.0, 1.0)

    @property
    def table(self) -> Table:
        """One row per pair of calls."""
        rows = ((i, j, float(value)) for (i, j), value in np.ndenumerate(self.values))
        return Table(("call_i", "call_j", self.metric), tuple(rows))


def similarity_info(
    profile: Profile, cut: int, schedule: Schedule | None = None, metric: Metric = "cosine"
) -> SimilarityInfo:
    """The matrix `metric` of `profile` at `cut`, with the full calls of `schedule` to mark.

    Raises:
        ProfileError: the profile holds no such cut.
        ValueError: there is no such metric, or the schedule is for another number of calls.
    """
    if metric not in get_args(Metric):
        raise ValueError(f"no metric {metric!r}: expected one of {', '.join(get_args(Metric))}")
    if schedule is not None and schedule.num_calls != profile.num_calls:
        raise ValueError(
            f"the schedule has {schedule.num_calls} calls and the profile {profile.num_calls}: "
            f"use schedule.resample({profile.num_calls}), or profile with as many steps"
        )
    matrix = getattr(profile, metric)[profile.index(cut)]
    return SimilarityInfo(
        cut=cut,
        layer=profile.meta.model.cuts.get(cut, ""),
        metric=metric,
        num_calls=profile.num_calls,
        values=np.asarray(matrix.detach().cpu().double().numpy()),
        full_calls=() if schedule is None else schedule.full_calls,
    )


@overload
def plot_similarity(
    source: Profile,
    cut: int,
    ax: Axes | None = None,
    *,
    limits: tuple[float, float] | None = None,
    colorbar: bool = True,
) -> Axes: ...
@overload
def plot_similarity(
    source: SimilarityInfo,
    *,
    ax: Axes | None = None,
    limits: tuple[float, float] | None = None,
    colorbar: bool = True,
) -> Axes: ...
def plot_similarity(
    source: Profile | SimilarityInfo,
    cut: int | None = None,
    ax: Axes | None = None,
    *,
    limits: tuple[float, float] | None = None,
    colorbar: bool = True,
) -> Axes:
    """Draws a heat map, call against call, and frames what each full call, if not more than 250, is reused for.

    Args:
        source: a profile, or what `similarity_info` gives, which may be of another metric and have a schedule to mark.
        cut: of the profile.
        ax: where to draw; a new figure if None.
        limits: of the colors, so that heat maps of several cuts can be compared.
        colorbar: whether to draw one.

    Raises:
        ProfileError: the profile holds no such cut.
        TypeError: a cut is given beside a `SimilarityInfo`, which has its own.
    """
    if isinstance(source, SimilarityInfo):
        if cut is not None:
            raise TypeError(f"cut: found {cut!r}, expected none: the SimilarityInfo is of cut {source.cut}")
        info = source
    else:
        info = similarity_info(source, cut)  # type: ignore[arg-type]  # refuses None in words
    with figure_style():
        ax = axes_or_new(ax, 3.4, 3.1)
        low, high = limits or info.finite_range
        palette = sns.color_palette("mako" if info.metric == "cosine" else "mako_r", as_cmap=True)
        step = -(-info.num_calls // _MAX_PIXELS)
        edge = info.num_calls - 0.5
        image = ax.imshow(
            info.values[::step, ::step],
            cmap=palette,
            vmin=low,
            vmax=high,
            interpolation="none",
            extent=(-0.5, edge, edge, -0.5),
        )
        marked = info.full_calls if len(info.full_calls) <= MAX_FRAMES else ()
        for start, end in pairwise((*marked, info.num_calls)):
            _frame(ax, start, end - start)
        ax.set_title(f"Cut {info.cut}")
        ax.set_xlabel("call j")
        ax.set_ylabel("call i")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        sns.despine(ax=ax, left=True, bottom=True)
        if colorbar:
            bar = ax.figure.colorbar(image, ax=ax, shrink=0.86, aspect=22, pad=0.03)
            bar.set_label(METRIC_NAMES[info.metric])
            bar.outline.set_visible(False)
            bar.ax.yaxis.set_major_locator(MaxNLocator(nbins=5))
    return ax


def _frame(ax: Axes, start: int, size: int) -> None:
    """A frame around the calls that reuse call `start`, and a dot on the full call itself."""
    corner = (start - 0.5, start - 0.5)
    for color, width in (("white", 2.2), ("black", 0.9)):  # seen on bright and on dark cells
        ax.add_patch(Rectangle(corner, size, size, fill=False, edgecolor=color, linewidth=width))
    ax.plot([start], [start], marker="o", markersize=3.6, color="white", markeredgecolor="black", markeredgewidth=0.8)
