"""What a trial may run: a schedule, or the same sampler with fewer steps."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Literal

from pydantic import Field, field_validator

from deepcadence.schedules import MAX_CALLS, Call, ReuseInfo, Schedule
from deepcadence.schedules.fields import MAX_ALPHA, Count, Cut, Text
from deepcadence.search.errors import SearchError
from deepcadence.search.fields import Finite, Positive, Record

Origin = Literal["nonuniform", "adaptive", "predicted", "uniform", "published", "fewer_steps"]
"""Where a trial came from: the search, in (c, p) or with adaptive reuse, the front of the predictor, or one of the
three kinds of baseline."""

Formula = Literal["paper", "released"]


class Candidate(Record):
    """What a trial runs.

    Attributes:
        origin: where it came from.
        label: in words, unique within the baselines of a study.
        calls: "full" or the cut to reuse at, call by call; None for fewer steps.
        steps: sampler steps of the run.
        cut, interval, center, power, formula: what generated `calls`; None where it does not apply.
        order: how features are reused: 0 holds the last one, 1 extrapolates along a line, 2 along a parabola.
        alpha: how much of the extrapolation's step is taken.
        threshold, max_hold: of adaptive reuse; None where the schedule is not adaptive, or has no maximum.
        spacing: `timestep_spacing` of the sampler; None for that of the reference.
    """

    origin: Origin
    label: Text
    calls: tuple[Call, ...] | None
    steps: Count
    cut: Cut | None = None
    interval: Count | None = None
    center: Finite | None = None
    power: Positive | None = None
    formula: Formula | None = None
    order: Literal[0, 1, 2] = 0
    alpha: Annotated[Finite, Field(ge=0, le=MAX_ALPHA)] = 1.0
    threshold: Annotated[Finite, Field(ge=0)] | None = None
    max_hold: Count | None = None
    spacing: Text | None = None

    @field_validator("calls")
    @classmethod
    def _starts_full(cls, calls: tuple[Call, ...] | None) -> tuple[Call, ...] | None:
        if calls is not None and (not 0 < len(calls) <= MAX_CALLS or calls[0] != "full"):
            raise ValueError(f'1 to {MAX_CALLS} calls, the first of them "full"')
        return calls

    @property
    def key(self) -> str:
        """Equal for candidates that run the same: a hash of calls, reuse and sampler, or the number of steps."""
        if self.calls is None:
            return f"steps:{self.steps}" + (f" {self.spacing}" if self.spacing else "")
        run = [self.calls, self.reuse.model_dump(mode="json"), self.steps, self.spacing]
        return hashlib.sha256(json.dumps(run).encode()).hexdigest()

    @property
    def reuse(self) -> ReuseInfo:
        """How features are reused, as a schedule says it."""
        if self.threshold is not None:
            return ReuseInfo(mode="adaptive", threshold=self.threshold, max_hold=self.max_hold)
        return ReuseInfo(mode="extrapolate", order=self.order, alpha=self.alpha) if self.order else ReuseInfo()

    @property
    def full_calls(self) -> int | None:
        """How many calls are full, at least where the input decides; None for fewer steps."""
        return None if self.calls is None else sum(call == "full" for call in self.calls)

    @property
    def partial_calls(self) -> int | None:
        """How many calls are partial, at most where the input decides; None for fewer steps."""
        return None if self.calls is None else sum(call != "full" for call in self.calls)

    def schedule(self) -> Schedule:
        """The calls as a schedule, with its generator.

        Raises:
            SearchError: this is a run with fewer steps, which no schedule describes.
        """
        if self.calls is None:
            raise SearchError(f"{self.label!r} is no schedule: it runs the sampler with {self.steps} steps, uncached")
        generator = {
            "name": self.origin if self.origin in ("uniform", "predicted", "adaptive") else "nonuniform",
            "interval": self.interval,
            "center": self.center,
            "power": self.power,
            "formula": self.formula,
        }
        return Schedule.model_validate(
            {
                "calls": list(self.calls),
                "reuse": self.reuse,
                "generator": {key: v for key, v in generator.items() if v is not None},
            }
        )


def from_schedule(
    schedule: Schedule, *, origin: Origin, label: str, steps: int, order: Literal[0, 1, 2] = 0, alpha: float = 1.0
) -> Candidate:
    """The candidate that runs a generated schedule, with features extrapolated, if an order is given.

    The label then says so.
    """
    generator = schedule.generator
    strength = f" alpha {alpha:g}" if alpha != 1 else ""
    return Candidate(
        origin=origin,
        label=f"{label} order {order}{strength}" if order else label,
        order=order,
        alpha=alpha if order else 1.0,
        calls=tuple(schedule.calls),
        steps=steps,
        cut=schedule.cuts[0] if len(schedule.cuts) == 1 else None,
        interval=getattr(generator, "interval", None),
        center=getattr(generator, "center", None),
        power=getattr(generator, "power", None),
        formula=getattr(generator, "formula", None),
    )
