"""Numbers and places as text, in the way that all figures and pages write them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import Final

__all__ = ["MINUS", "TIMES", "in_two_lines", "partial_call", "times"]

TIMES: Final = "\u00d7"
MINUS: Final = "\u2212"


def times(value: float) -> str:
    """`2.05` and a multiplication sign."""
    return f"{value:.2f}{TIMES}"


def partial_call(layers: Iterable[str]) -> str:
    """What a partial call does at the place that a cut names: where it is "FIRST to LAST", residuals are reused."""
    return "leaves out" if any(" to " in layer for layer in layers) else "runs again from"


def in_two_lines(text: str, length: int = 36) -> str:
    """`text` on at most two lines of `length` characters, and cut off with dots where it is longer."""
    return "\n".join(textwrap.wrap(" ".join(text.split()), length, max_lines=2, placeholder="…"))
