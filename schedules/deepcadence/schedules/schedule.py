"""The schedule: for each call of the denoiser, whether to compute it in full or at which cut to reuse."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from deepcadence.schedules.errors import ScheduleError
from deepcadence.schedules.fields import MAX_CALLS, Call, Record, Several, describe, problem
from deepcadence.schedules.files import read_at_most, write_atomically
from deepcadence.schedules.problems import schedule_error
from deepcadence.schedules.provenance import Cost, Created, GeneratorInfo, ModelInfo, Quality, ReuseInfo, SamplerInfo
from deepcadence.schedules.resampling import resample_calls
from deepcadence.schedules.text import MAX_BYTES, canonical_json, parse_json

__all__ = ["FORMAT", "VERSION", "Schedule"]

FORMAT = "deepcadence/schedule"
VERSION = 1

_source: ContextVar[str] = ContextVar("source", default="Schedule")
"""What errors of the constructor call the thing that is read."""


class Schedule(Record):
    """A caching schedule: what to do at each call of the denoiser, and where the schedule came from.

    `calls` is the schedule; everything else is provenance and optional. The first call is full, and a partial call
    reuses what the last full call stored. Immutable; equal when all fields are.

    Raises:
        ScheduleError: from the constructor, `loads` and `load`: names the place, what was found, what was expected.
    """

    format: Literal["deepcadence/schedule"] = "deepcadence/schedule"
    """Says what this file is."""
    version: Literal[1] = 1
    """Version of the format."""
    calls: Several[Call] = Field(
        json_schema_extra={"minItems": 1, "maxItems": MAX_CALLS, "prefixItems": [{"const": "full"}]}
    )
    """Per call of the denoiser, from the first of a run: "full", or the cut to reuse at. The first is "full"."""
    reuse: ReuseInfo = ReuseInfo()
    """How stored features are reused."""
    generator: GeneratorInfo | None = None
    """The formula that gave the calls."""
    model: ModelInfo | None = None
    """The denoiser that the schedule was made for; checked when it is attached to one."""
    sampler: SamplerInfo | None = None
    """The scheduler that it was made with."""
    cost: Cost | None = None
    """Multiply-accumulates per sample."""
    quality: Several[Quality] | None = None
    """Measured figures of quality."""
    created: Created | None = None
    """Who wrote the file, and when."""

    if not TYPE_CHECKING:  # type checkers see the fields as keyword arguments

        def __init__(self, /, **data):
            try:
                super().__init__(**data)
            except ValidationError as error:
                raise schedule_error(_source.get(), error, _known_keys()) from None

    @field_validator("calls")
    @classmethod
    def _starts_full(cls, calls: tuple[Call, ...]) -> tuple[Call, ...]:
        if not calls:
            raise problem('at least one call, the first of them "full"')
        if len(calls) > MAX_CALLS:
            raise problem(f"at most {MAX_CALLS}", found=f"{len(calls)} calls")
        if calls[0] != "full":
            raise problem('"full": the first call of a run has nothing to reuse', "calls[0]", describe(calls[0]))
        return calls

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        for name, known in (
            ("model.cuts", self.model and self.model.cuts),
            ("cost.partial_macs", self.cost and self.cost.partial_macs),
        ):
            if known is None:
                continue
            for index, call in enumerate(self.calls):
                if call != "full" and call not in known:
                    cuts = ", ".join(map(str, sorted(known))) or "no cuts"
                    raise problem(f'"full" or a cut that {name} lists ({cuts})', f"calls[{index}]", f"cut {call}")
        return self

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a schedule file.

        Raises:
            ScheduleError: the file is not a valid schedule.
            OSError: it cannot be read.
        """
        return cls.loads(read_at_most(path, MAX_BYTES), source=os.fspath(path))

    @classmethod
    def loads(cls, text: str | bytes, source: str = "<string>") -> Self:
        """Read a schedule from JSON text; errors call it `source`.

        Raises:
            ScheduleError: it is not a valid schedule.
        """
        data = parse_json(text, source)
        _check_header(data, source)
        token = _source.set(source)
        try:
            return cls(**data)
        finally:
            _source.reset(token)

    def dumps(self) -> str:
        """Return the canonical JSON text: `dumps(loads(text)) == text` for every text that `dumps` gave."""
        return canonical_json(self.model_dump(mode="json", by_alias=True, exclude_none=True))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the schedule file atomically; a file that is there is replaced.

        Raises:
            OSError: it cannot be written.
        """
        write_atomically(path, self.dumps())

    @property
    def num_calls(self) -> int:
        """How many calls of the denoiser the schedule covers."""
        return len(self.calls)

    @property
    def full_calls(self) -> tuple[int, ...]:
        """The numbers of the full calls, ascending from 0."""
        return tuple(index for index, call in enumerate(self.calls) if call == "full")

    @property
    def cuts(self) -> tuple[int, ...]:
        """The cuts in use, ascending, each once; empty when every call is full."""
        return tuple(sorted({call for call in self.calls if call != "full"}))

    def resample(self, num_calls: int) -> Schedule:
        """Return the schedule for another number of calls; for its own number, itself.

        The full call at i of T moves to floor(i * num_calls / T), and calls that meet there become one: call 0 stays
        full. Every other call is partial, at the cut of the old call at the same relative position,
        floor(j * T / num_calls), or, where that was full, of the next partial call after it (of the last one before
        it, where none follows). A schedule with full calls only stays so.

        Kept are `reuse`, `model`, the sampler without its steps, and the cost per call. What was measured or generated
        for the old calls is dropped: `generator`, `sampler.steps`, `sampler.timesteps`, `cost.mean_macs`,
        `cost.speedup`, `quality`, `created`.

        Raises:
            ScheduleError: `num_calls` is not a whole number from 1 to 100,000.
        """
        calls = resample_calls(self.calls, num_calls)
        if num_calls == self.num_calls:
            return self
        return Schedule(
            calls=calls,
            reuse=self.reuse,
            model=self.model,
            sampler=self.sampler and self.sampler.model_copy(update={"steps": None, "timesteps": None}),
            cost=self._cost_per_call(),
        )

    def extrapolated(self, order: int = 1, alpha: float = 1.0) -> Schedule:
        """Return the schedule with features extrapolated from the last `order` + 1 full calls; see `ReuseInfo`.

        What was measured with the former reuse is dropped: `quality`, `created`.

        Raises:
            ScheduleError: `order` is not 1 or 2, or `alpha` not from 0 to 2.
        """
        return self._with_reuse(self.cost, mode="extrapolate", order=order, alpha=alpha)

    def adaptive(self, threshold: float, max_hold: int | None = None) -> Schedule:
        """Return the schedule with partial calls that go on to full ones where the input asks for it; see `ReuseInfo`.

        What was measured with the former reuse is dropped, and the MACs of a whole run, which now depend on the input:
        `quality`, `created`, `cost.mean_macs`, `cost.speedup`.

        Raises:
            ScheduleError: `threshold` is not a number of at least 0, or `max_hold` not a whole number of at least 1.
        """
        return self._with_reuse(self._cost_per_call(), mode="adaptive", threshold=threshold, max_hold=max_hold)

    def _cost_per_call(self) -> Cost | None:
        of_runs = ("mean_macs", "speedup", "reference_calls")
        return self.cost and self.cost.model_copy(update=dict.fromkeys(of_runs))

    def _with_reuse(self, cost: Cost | None, **reuse: Any) -> Schedule:
        kept = {name: getattr(self, name) for name in ("calls", "generator", "model", "sampler")}
        return Schedule(**kept, cost=cost, reuse=reuse)

    def mean_macs(self, full: int, partial: Mapping[int, int]) -> float:
        """Return the MACs of an average call, given those of a full call and, per cut, of a partial one.

        With reuse "adaptive" it is the least that a run may take: that of one in which no call goes on.

        Raises:
            ScheduleError: `partial` lacks a cut that the schedule uses.
        """
        for cut in self.cuts:
            if cut not in partial:
                known = ", ".join(map(str, sorted(partial))) or "none"
                raise ScheduleError(f"partial: found MACs for cuts {known}, expected cut {cut} among them")
        return sum(full if call == "full" else partial[call] for call in self.calls) / self.num_calls


def _check_header(data: dict[str, Any], source: str) -> None:
    """Check what must be right before the rest can be judged, and what aliases would let through."""
    for key, expected in (("format", FORMAT), ("version", VERSION)):
        if key not in data:
            raise ScheduleError(f"{source}: {key}: found nothing, expected {describe(expected)}")
        found = data[key]
        if type(found) is not type(expected) or found != expected:
            newer = key == "version" and type(found) is int and found > VERSION
            advice = "; a newer deepcadence wrote this file: upgrade to read it" if newer else ""
            raise ScheduleError(f"{source}: {key}: found {describe(found)}, expected {describe(expected)}{advice}")
    for section in ("model", "sampler"):
        inner = data.get(section)
        if isinstance(inner, dict) and "class_name" in inner:
            known = ", ".join(_known_keys()[section])
            raise ScheduleError(f"{source}: {section}.class_name: found an unknown key, expected only {known}")


def _known_keys() -> dict[str, list[str]]:
    sections: dict[str, type[BaseModel]] = {
        "": Schedule, "reuse": ReuseInfo, "generator": GeneratorInfo, "model": ModelInfo, "sampler": SamplerInfo,
        "cost": Cost, "quality": Quality, "created": Created,
    }  # fmt: skip
    return {
        name: [field.alias or key for key, field in section.model_fields.items()] for name, section in sections.items()
    }
