"""Numbers as text, in the way that all figures and pages write them."""

from __future__ import annotations

from typing import Final

__all__ = ["MINUS", "TIMES", "shortened", "times"]

TIMES: Final = "\u00d7"
MINUS: Final = "\u2212"


def times(value: float) -> str:
    """`2.05` and a multiplication sign."""
    return f"{value:.2f}{TIMES}"


def shortened(text: str, length: int = 44) -> str:
    """`text` on one line, and cut off with dots where it is longer than `length` characters."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1]}…"
