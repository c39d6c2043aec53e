"""Options that say what a search may try."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

DEFAULT_THRESHOLDS = (0.03, 0.05, 0.1, 0.2)


class Reuse(StrEnum):
    """How features are reused."""

    hold = "hold"
    line = "line"
    parabola = "parabola"
    adaptive = "adaptive"


class Spacing(StrEnum):
    """`timestep_spacing` of a scheduler of diffusers."""

    leading = "leading"
    linspace = "linspace"
    trailing = "trailing"


Reuses = Annotated[
    list[Reuse] | None,
    typer.Option(
        "--reuse",
        help="Only this way to reuse features: hold the last one, extrapolate along a line or a parabola, or hold it "
        "while the input changes little (adaptive); repeat for several.  [default: hold, line, parabola]",
        show_default=False,
    ),
]
Alphas = Annotated[
    list[float] | None,
    typer.Option(
        "--alpha",
        help="How far to go along the line or parabola: 1 as far as it says, at most 2; repeat for several.  "
        "[default: 0.75, 1.0]",
        show_default=False,
    ),
]
Thresholds = Annotated[
    list[float] | None,
    typer.Option(
        "--threshold",
        help="Adaptive: a call runs full where its input changed by more than this part; repeat for several.  "
        f"[default: {', '.join(map(str, DEFAULT_THRESHOLDS))}]",
        show_default=False,
    ),
]
MaxHolds = Annotated[
    list[int] | None,
    typer.Option("--max-hold", min=1, help="Adaptive: the most partial calls in a row; repeat for several.  [calls]"),
]
TrySteps = Annotated[
    list[int] | None,
    typer.Option(
        "--try-steps",
        min=2,
        help="Also schedules of so many steps, fewer than the profile's, with which they are compared; repeat for "
        "several.",
        show_default=False,
    ),
]
Spacings = Annotated[
    list[Spacing] | None,
    typer.Option(
        "--spacing",
        help="Only this timestep_spacing of the sampler; repeat for several.  [default: as it is]",
        show_default=False,
    ),
]


def searched(
    reuse: list[Reuse] | None,
    alpha: list[float] | None,
    threshold: list[float] | None,
    max_hold: list[int] | None,
    try_steps: list[int] | None,
    spacing: list[Spacing] | None,
) -> dict[str, Any]:
    """The arguments of `run_study` for these options."""
    adaptive = reuse is not None and Reuse.adaptive in reuse
    if (threshold or max_hold) and not adaptive:
        name = "--threshold" if threshold else "--max-hold"
        raise typer.BadParameter("it is for adaptive schedules; add --reuse adaptive", param_hint=name)
    orders = [(Reuse.hold, Reuse.line, Reuse.parabola).index(each) for each in reuse or () if each != Reuse.adaptive]
    return {
        "orders": orders if reuse else None,
        "alphas": alpha or None,
        "thresholds": threshold or DEFAULT_THRESHOLDS if adaptive else (),
        "max_holds": max_hold or (),
        "steps": try_steps or (),
        "spacings": [each.value for each in spacing] if spacing else None,
    }
