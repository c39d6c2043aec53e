"""What a schedule file may say about where it came from. All of it is optional in a hand-written file."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from deepcadence.schedules.fields import (
    Alpha,
    Count,
    CutKey,
    Number,
    Order,
    PositiveNumber,
    Record,
    Several,
    Sha256,
    Text,
    Threshold,
    describe,
    problem,
)

__all__ = ["Cost", "Created", "GeneratorInfo", "ModelInfo", "Quality", "ReuseInfo", "SamplerInfo"]


class ReuseInfo(Record):
    """How stored features are reused."""

    mode: Literal["hold", "extrapolate", "adaptive"] = "hold"
    """hold: as the last full call stored it. extrapolate: the polynomial, in call numbers, through the features of the
    last `order` + 1 full calls, or of as many as there are. adaptive: as hold, but a partial call goes on to a full one
    where what enters its cut changed by more than `threshold` since the last full call."""
    order: Order | None = None
    """extrapolate only, default 1: 1 is the line through two features, 2 the parabola through three."""
    alpha: Alpha | None = None
    """extrapolate only, default 1: how much of the step away from the last feature is taken, from 0 (hold) to 2."""
    threshold: Threshold | None = None
    """adaptive only, required: the largest relative change, ||now - then|| / ||now||, of any sample in the batch, at
    which the feature is held."""
    max_hold: Count | None = None
    """adaptive only: the most partial calls in a row; one after them is full without asking. Without it, no limit."""

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("mode") == "extrapolate":
            return {"order": 1, "alpha": 1, **data}
        return data

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        for name, mode, needed in (
            ("order", "extrapolate", True),
            ("alpha", "extrapolate", True),
            ("threshold", "adaptive", True),
            ("max_hold", "adaptive", False),
        ):
            value = getattr(self, name)
            if self.mode != mode and value is not None:
                raise problem(f'nothing: it belongs to mode "{mode}"', f"reuse.{name}", describe(value))
            if self.mode == mode and value is None and needed:
                found = "null" if name in self.model_fields_set else "nothing"
                raise problem("a number", f"reuse.{name}", found)
        return self


class GeneratorInfo(Record):
    """The formula that gave the calls, for people; the calls are what counts."""

    name: Text
    """uniform, nonuniform, predicted, adaptive or from_full_calls."""
    interval: Count | None = None
    """A full call every so many calls, on average."""
    center: Number | None = None
    """The call around which full calls lie closest (c in the paper)."""
    power: PositiveNumber | None = None
    """How fast they thin out away from the center (p in the paper)."""
    formula: Literal["paper", "released"] | None = None
    """The paper's formula, or what the code released with the paper computes."""
    effective_power: PositiveNumber | None = None
    """formula "released" only: the power that its search ended at."""


class ModelInfo(Record):
    """The denoiser that a schedule was made for."""

    class_name: Text = Field(alias="class")
    """Its class, such as UNet2DConditionModel."""
    config_sha256: Sha256 | None = None
    """Hash of its configuration, see config_sha256."""
    cuts: dict[CutKey, Text] = Field(default_factory=dict)
    """Per cut, the dotted name of the first layer that a partial call runs again after the reused feature; where a
    residual is reused, "FIRST to LAST": the blocks that it stands for."""


class SamplerInfo(Record):
    """The scheduler that a schedule was made with."""

    class_name: Text = Field(alias="class")
    """Its class, such as DDIMScheduler."""
    config_sha256: Sha256 | None = None
    """Hash of its configuration, see config_sha256."""
    timesteps: Several[Number] | None = None
    """The timesteps of the run, first to last."""
    steps: Count | None = None
    """The steps that the run was asked for (num_inference_steps)."""
    timestep_spacing: Text | None = None
    """How the scheduler spreads the timesteps: timestep_spacing of its configuration, such as trailing."""


class Cost(Record):
    """Multiply-accumulates (MACs) of the denoiser, per sample; classifier-free guidance is not folded in."""

    counter: Literal["exact", "paper"]
    """The counting rules."""
    full_macs: Count
    """MACs of a full call."""
    partial_macs: dict[CutKey, Count] = Field(default_factory=dict)
    """MACs of a partial call, per cut."""
    mean_macs: PositiveNumber | None = None
    """MACs of an average call of this schedule."""
    speedup: PositiveNumber | None = None
    """How many times fewer MACs a run takes than the uncached one that quality was compared with; full_macs / mean_macs
    where both make as many calls."""
    reference_calls: Count | None = None
    """Calls of that uncached run, where they are not as many as those of the schedule."""
    sample_shape: Several[Count] | None = None
    """Shape of the denoiser's input without the batch: (channels, height, width)."""


class Quality(Record):
    """One measured figure of quality. Figures must be finite: leave an infinite PSNR out."""

    metric: Text
    """Such as psnr, ssim, fid."""
    unit: Text = ""
    """Such as dB; empty for a ratio."""
    value: Number
    """The mean over the samples."""
    ci95: tuple[Number, Number] | None = None
    """The 95% confidence interval of the value: low, high."""
    samples: Count
    """How many samples it was measured on."""
    seeds: Text
    """Which seeds: held-out, or search."""
    reference: Text
    """What the samples were compared with: full (the uncached run on the same seeds), or the name of a data set."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.ci95 is not None and self.ci95[0] > self.ci95[1]:
            raise problem("an interval with the low end first")
        return self


class Created(Record):
    """Who wrote the file, and when."""

    by: Text
    """Program and version, such as deepcadence 0.1.0."""
    at: Text
    """ISO 8601 date and time with its offset from UTC."""

    @field_validator("at")
    @classmethod
    def _iso8601(cls, value: str) -> str:
        try:
            aware = datetime.fromisoformat(value).tzinfo is not None
        except ValueError:
            aware = False
        if not aware:
            raise problem('an ISO 8601 date and time with an offset, such as "2025-01-31T12:00:00+00:00"')
        return value

    @classmethod
    def now(cls, by: str | None = None) -> Created:
        """Return this moment in UTC, to the second, and this version of deepcadence, or the program `by`."""
        if by is None:
            try:
                by = f"deepcadence {version('deepcadence')}"
            except PackageNotFoundError:
                by = "deepcadence (not installed)"
        return cls(by=by, at=datetime.now(UTC).isoformat(timespec="seconds"))
