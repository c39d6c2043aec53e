"""How the origins of trials are told apart in all figures: a name, a color and a marker each."""

from __future__ import annotations

from typing import Final

from deepcadence.reports._style import FEWER_STEPS, PREDICTED, PUBLISHED, SEARCH, UNIFORM

__all__ = ["ORIGIN_LOOKS", "ORIGIN_NAMES"]

ORIGIN_NAMES: Final[dict[str, str]] = {
    "nonuniform": "searched (c, p)",
    "predicted": "predicted",
    "uniform": "uniform 1:N",
    "published": "published (c, p)",
    "fewer_steps": "fewer steps",
}
ORIGIN_LOOKS: Final[dict[str, tuple[str, str, float]]] = {
    "nonuniform": (SEARCH, "o", 22.0),
    "predicted": (PREDICTED, "D", 24.0),
    "uniform": (UNIFORM, "s", 30.0),
    "published": (PUBLISHED, "^", 42.0),
    "fewer_steps": (FEWER_STEPS, "X", 42.0),
}
"""Origin -> color, marker, and area of the marker in square points."""
