"""What a trial may run: a schedule, or the same sampler with fewer steps."""

from __future__ import annotations

import hashlib
import json
from typing import Literal

from pydantic import field_validator

from deepcadence.schedules import MAX_CALLS, Call, Schedule
from deepcadence.search.errors import SearchError
from deepcadence.search.fields import Finite, Record, Whole

Origin = Literal["nonuniform", "predicted", "uniform", "published", "fewer_steps"]
"""Where a trial came from: the search in (c, p), the front of the predictor, or one of the three kinds of baseline."""

Formula = Literal["paper", "released"]


class Candidate(Record):
    """What a trial runs.

    Attributes:
        origin: where it came from.
        label: in words, unique within the baselines of a study.
        calls: "full" or the cut to reuse at, call by call; None for fewer steps.
        steps: sampler steps of the run (those of the reference, but for fewer steps).
        cut, interval, center, power, formula: what generated `calls`; None where it does not apply.
        order: how features are reused: 0 holds the last one, 1 extrapolates along a line, 2 along a parabola.
    """

    origin: Origin
    label: str
    calls: tuple[Call, ...] | None
    steps: Whole
    cut: Whole | None = None
    interval: Whole | None = None
    center: Finite | None = None
    power: Finite | None = None
    formula: Formula | None = None
    order: Literal[0, 1, 2] = 0

    @field_validator("calls")
    @classmethod
    def _starts_full(cls, calls: tuple[Call, ...] | None) -> tuple[Call, ...] | None:
        if calls is not None and (not 0 < len(calls) <= MAX_CALLS or calls[0] != "full"):
            raise ValueError(f'1 to {MAX_CALLS} calls, the first of them "full"')
        return calls

    @property
    def key(self) -> str:
        """Equal for candidates that run the same: a hash of calls and order, or the number of steps."""
        if self.calls is None:
            return f"steps:{self.steps}"
        return hashlib.sha256(json.dumps([self.order, self.calls]).encode()).hexdigest()

    @property
    def full_calls(self) -> int | None:
        """How many calls are full; None for fewer steps."""
        return None if self.calls is None else sum(call == "full" for call in self.calls)

    @property
    def partial_calls(self) -> int | None:
        """How many calls are partial; None for fewer steps."""
        return None if self.calls is None else sum(call != "full" for call in self.calls)

    def schedule(self) -> Schedule:
        """The calls as a schedule, with its generator.

        Raises:
            SearchError: this is a run with fewer steps, which no schedule describes.
        """
        if self.calls is None:
            raise SearchError(f"{self.label!r} is no schedule: it runs the sampler with {self.steps} steps, uncached")
        generator = {
            "name": self.origin if self.origin in ("uniform", "predicted") else "nonuniform",
            "interval": self.interval,
            "center": self.center,
            "power": self.power,
            "formula": self.formula,
        }
        return Schedule.model_validate(
            {
                "calls": list(self.calls),
                "reuse": {"mode": "extrapolate", "order": self.order} if self.order else {"mode": "hold"},
                "generator": {key: v for key, v in generator.items() if v is not None},
            }
        )


def from_schedule(
    schedule: Schedule, *, origin: Origin, label: str, steps: int, order: Literal[0, 1, 2] = 0
) -> Candidate:
    """The candidate that runs a generated schedule, with features reused by `order`, which the label then says."""
    generator = schedule.generator
    return Candidate(
        origin=origin,
        label=f"{label} order {order}" if order else label,
        order=order,
        calls=tuple(schedule.calls),
        steps=steps,
        cut=schedule.cuts[0] if len(schedule.cuts) == 1 else None,
        interval=getattr(generator, "interval", None),
        center=getattr(generator, "center", None),
        power=getattr(generator, "power", None),
        formula=getattr(generator, "formula", None),
    )
