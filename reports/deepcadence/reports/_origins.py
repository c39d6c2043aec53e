"""How the origins of trials are told apart in all figures: a name, a color and a marker each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from matplotlib.axes import Axes

from deepcadence.reports._style import FEWER_STEPS, PREDICTED, PUBLISHED, SEARCH, SURFACE, UNIFORM

__all__ = ["ORIGIN_LOOKS", "ORIGIN_NAMES", "scatter_by_origin"]

_MAX_MARKERS: Final = 1500
"""Of more markers of a kind, an SVG holds a picture."""

ORIGIN_NAMES: Final[dict[str, str]] = {
    "nonuniform": "searched (c, p)",
    "adaptive": "adaptive",
    "predicted": "predicted",
    "uniform": "uniform 1:N",
    "published": "published (c, p)",
    "fewer_steps": "fewer steps",
}
ORIGIN_LOOKS: Final[dict[str, tuple[str, str, float]]] = {
    "nonuniform": (SEARCH, "o", 22.0),
    "adaptive": (SEARCH, "v", 26.0),
    "predicted": (PREDICTED, "D", 24.0),
    "uniform": (UNIFORM, "s", 30.0),
    "published": (PUBLISHED, "^", 42.0),
    "fewer_steps": (FEWER_STEPS, "X", 42.0),
}
"""Origin -> color, marker, and area of the marker in square points."""


def scatter_by_origin(ax: Axes, points: Sequence[tuple[str, float, float]]) -> None:
    """Draws the markers of trials, (origin, x, y), an entry of the legend for each origin that is there.

    Those that were searched, the most, lie below the others.
    """
    for origin, (color, marker, size) in ORIGIN_LOOKS.items():
        places = [(x, y) for which, x, y in points if which == origin]
        if places:
            ax.scatter(
                [x for x, _ in places],
                [y for _, y in places],
                color=color,
                marker=marker,
                s=size,
                edgecolor=SURFACE,
                linewidth=0.6,
                label=ORIGIN_NAMES[origin],
                rasterized=len(places) > _MAX_MARKERS,
                zorder=2 if origin == "nonuniform" else 3,
            )
