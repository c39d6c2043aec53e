"""Numbers, names and places as text, in the way that all figures and pages write them."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from typing import Final

from deepcadence.schedules.fields import shortened

__all__ = ["MINUS", "TIMES", "in_two_lines", "legal", "named", "partial_call", "times"]

TIMES: Final = "\u00d7"
MINUS: Final = "\u2212"

_LONGEST_NAME: Final = 120
_ILLEGAL: Final = re.compile("[^\t\n\r -\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 has no characters for, and control characters beside them."""


def times(value: float) -> str:
    """`2.05` and a multiplication sign."""
    return f"{value:.2f}{TIMES}"


def partial_call(layers: Iterable[str]) -> str:
    """What a partial call does at the place that a cut names: where it is "FIRST to LAST", residuals are reused."""
    return "leaves out" if any(" to " in layer for layer in layers) else "runs again from"


def legal(text: str) -> str:
    """`text` with a replacement character for each that may not stand in a figure or on a page."""
    return _ILLEGAL.sub("\ufffd", text)


def named(text: str) -> str:
    """A name that comes from a file, such as a label or that of a metric, on one line, legal, and not too long."""
    return legal(shortened(" ".join(shortened(text, 10 * _LONGEST_NAME).split()), _LONGEST_NAME))


def in_two_lines(text: str, length: int = 36) -> str:
    """`text` on at most two lines of `length` characters, and cut off with dots where it is longer."""
    return "\n".join(textwrap.wrap(named(text), length, max_lines=2, placeholder="…"))
