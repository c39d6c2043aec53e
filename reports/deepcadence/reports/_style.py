"""One look for all figures: colors, markers, fonts.

Every color here is used for one thing only, so that the report can swap it for a CSS variable and the same SVG reads
well on a light and on a dark page (`_svg.py`). No meaning is carried by color alone: each series has its own marker,
or its own row, as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

INK: Final = "#1b1f24"
MUTED: Final = "#59616b"
GRID: Final = "#dcdfe4"
SURFACE: Final = "#fefefe"
PAPER: Final = "#ffffff"
"""Behind a figure; a page leaves it out."""

SEARCH: Final = "#0b6fb8"
PREDICTED: Final = "#7a6a13"
UNIFORM: Final = "#c9540a"
PUBLISHED: Final = "#0a8a66"
FEWER_STEPS: Final = "#a8457f"
CHOSEN: Final = "#1b1f25"

# Cuts 0, 1, 2, ... in the distance figure; after the last one they repeat with another dash pattern.
CUT_COLORS: Final = ("#0b6fb9", "#c9540b", "#0a8a67", "#a84580", "#7a6a12", "#5d5bb0")
CUT_MARKERS: Final = ("o", "s", "^", "D", "v", "P")
DASHES: Final = ("-", "--", ":")

CSS_VARIABLES: Final[dict[str, str]] = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    SURFACE: "--surface",
    SEARCH: "--series-search",
    PREDICTED: "--series-predicted",
    UNIFORM: "--series-uniform",
    PUBLISHED: "--series-published",
    FEWER_STEPS: "--series-fewer",
    CHOSEN: "--ink",
    **{color: f"--cut-{index}" for index, color in enumerate(CUT_COLORS)},
}
"""Figure color -> CSS variable of the report that takes its place."""

_RC: Final[Any] = {
    "figure.facecolor": PAPER,
    "savefig.facecolor": "auto",
    "axes.facecolor": "none",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8.0,
    "axes.labelsize": 9.0,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.major.size": 3.0,
    "ytick.major.size": 3.0,
    "xtick.major.width": 0.8,
    "ytick.major.width": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "font.size": 9.0,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "svg.fonttype": "none",
    "svg.hashsalt": "deepcadence",
    "figure.dpi": 100.0,
}


@contextmanager
def figure_style() -> Iterator[None]:
    """Within it, matplotlib draws in the look of deepcadence; afterwards, as before. Text is literal, never math."""
    with mpl.rc_context(_RC):
        yield


def axes_or_new(ax: Axes | None, width: float, height: float) -> Axes:
    """`ax` in the look of deepcadence, or the axes of a new pyplot figure of `width` x `height` inches."""
    if ax is None:
        _, ax = plt.subplots(figsize=(width, height), layout="constrained")
    else:
        _dress(ax)
    return ax


def _dress(ax: Axes) -> None:
    """What `_RC` gives to axes that are made under it, for axes made before."""
    ax.figure.set_facecolor(PAPER)
    ax.set_facecolor("none")
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set(edgecolor=MUTED, linewidth=_RC["axes.linewidth"])
    ax.tick_params(
        color=MUTED,
        labelcolor=MUTED,
        labelsize=_RC["xtick.labelsize"],
        length=_RC["xtick.major.size"],
        width=_RC["xtick.major.width"],
        grid_color=GRID,
        grid_linewidth=_RC["grid.linewidth"],
    )
    for axis in (ax.xaxis, ax.yaxis):
        axis.label.set(color=INK, fontsize=_RC["axes.labelsize"])


def cut_look(index: int) -> tuple[str, str, str]:
    """Color, marker and dash pattern of the `index`-th cut shown."""
    size = len(CUT_COLORS)
    return CUT_COLORS[index % size], CUT_MARKERS[index % size], DASHES[index // size % len(DASHES)]
