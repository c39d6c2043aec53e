"""What a profile says about itself."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from deepcadence.probe.macs import Macs
from deepcadence.probe.projection import ProjectionInfo
from deepcadence.probe.setup import Setup
from deepcadence.schedules.fields import Count, Cut, Record, Several, Text, problem
from deepcadence.schedules.provenance import Created, ModelInfo, SamplerInfo

__all__ = ["ProfileInfo"]

Seed = Annotated[int, Field(ge=0, lt=2**63, strict=True)]
Whole = Annotated[int, Field(ge=0, lt=2**63, strict=True)]


class ProfileInfo(Record):
    """Where a profile came from: enough to measure it again."""

    model_config = ConfigDict(protected_namespaces=())

    format: Literal["deepcadence/profile"] = "deepcadence/profile"
    version: Literal[1] = 1
    model: ModelInfo
    """The denoiser; `model.cuts` names every cut of it, profiled or not."""
    sampler: SamplerInfo
    """The scheduler, with the timesteps of the run."""
    macs: Macs
    """Exact MACs of a full call and of a partial call at each profiled cut."""
    cuts: Annotated[Several[Cut], Field(min_length=1)]
    """The profiled cuts, in the order of the matrices."""
    num_calls: Count
    """Calls of the denoiser in a run (T)."""
    steps: Count
    """Sampling steps that were asked for."""
    seeds: Annotated[Several[Seed], Field(min_length=1)]
    """The samples."""
    error_seeds: Several[Seed] = ()
    """The samples whose output errors were measured."""
    max_distance: Whole = 0
    """Output errors were measured for features up to this many calls old."""
    prompts: Several[str] = ()
    """The prompts that were dealt out to the seeds."""
    rows: Count = 1
    """Rows of the denoiser's batch for one sample, 2 with classifier-free guidance; figures are their average."""
    dtype: Text = "float32"
    """Type of the features."""
    device: Text = "cpu"
    """Kind of device that it ran on."""
    projection: ProjectionInfo | None = None
    """How features were projected; null if whole features were compared."""
    created: Created
    setup: Setup = Setup()
    """With which command and which versions."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if list(self.cuts) != sorted(set(self.cuts)):
            raise problem("each profiled cut once, in ascending order", "cuts")
        if not set(self.cuts) <= set(self.macs.partial):
            raise problem("the MACs of a partial call at each profiled cut", "macs.partial")
        if min(self.macs.full, *self.macs.partial.values()) < 1:
            raise problem("MACs above 0", "macs")
        if not set(self.error_seeds) <= set(self.seeds):
            raise problem("some of the seeds", "error_seeds")
        return self

    @property
    def timesteps(self) -> tuple[float, ...]:
        """The timestep of each call; empty if the denoiser takes none."""
        return self.sampler.timesteps or ()
