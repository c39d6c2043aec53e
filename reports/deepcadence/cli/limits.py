"""Limits as they are typed: 200G, psnr=30."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import typer

_FACTORS = {"K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_MOST = {"psnr": 100.0, "ssim": 1.0}
"""What identical images have; the first is `deepcadence.search.PSNR_CAP`."""


class Cost(StrEnum):
    """What a speed-up counts."""

    macs = "macs"
    time = "time"


def macs_number(text: str | float) -> float:
    """A positive number, such as 2e11 or 200G."""
    found = str(text).strip().upper()
    try:
        value = float(found.rstrip("KMGT")) * _FACTORS.get(found[-1:], 1.0)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise typer.BadParameter(f"found {text!r}, expected a number of MACs above 0, such as 200G")
    return value


def quality_limits(texts: Iterable[str]) -> dict[str, float]:
    """Least values by metric, of texts such as psnr=30."""
    found: dict[str, float] = {}
    for text in texts:
        metric, _, value = text.partition("=")
        try:
            found[metric] = float(value)
        except ValueError:
            metric = ""
        if metric not in _MOST:
            raise typer.BadParameter(f"found {text!r}, expected psnr=VALUE or ssim=VALUE", param_hint="--min-quality")
        if not found[metric] <= _MOST[metric]:
            raise typer.BadParameter(
                f"found {text!r}, expected at most {_MOST[metric]:g}, which identical images have",
                param_hint="--min-quality",
            )
    return found
