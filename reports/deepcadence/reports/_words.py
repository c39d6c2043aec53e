"""Numbers and places as text, in the way that all figures and pages write them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

__all__ = ["MINUS", "TIMES", "partial_call", "shortened", "times"]

TIMES: Final = "\u00d7"
MINUS: Final = "\u2212"


def times(value: float) -> str:
    """`2.05` and a multiplication sign."""
    return f"{value:.2f}{TIMES}"


def partial_call(layers: Iterable[str]) -> str:
    """What a partial call does at the place that a cut names: where it is "FIRST to LAST", residuals are reused."""
    return "leaves out" if any(" to " in layer for layer in layers) else "runs again from"


def shortened(text: str, length: int = 44) -> str:
    """`text` on one line, and cut off with dots where it is longer than `length` characters."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1]}…"
