"""Running a pipeline with its timesteps spread in another way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from deepcadence.probe.errors import WorkloadError

__all__ = ["spaced"]

SPACINGS = ("leading", "linspace", "trailing")
"""What `timestep_spacing` of a scheduler of diffusers may be (Lin et al. 2024, table 2)."""


@contextmanager
def spaced(pipeline: Any, spacing: str | None) -> Iterator[None]:
    """With a scheduler like the pipeline's own whose `timestep_spacing` is this one; None leaves it alone.

    Raises:
        WorkloadError: there is no such spacing, or the scheduler's configuration has none.
    """
    if spacing is None:
        yield
        return
    scheduler: Any = getattr(pipeline, "scheduler", None)
    if "timestep_spacing" not in getattr(scheduler, "config", ()):
        name = type(pipeline if scheduler is None else scheduler).__name__
        raise WorkloadError(f"{name} has no timestep_spacing to change; leave the spacing out")
    if spacing not in SPACINGS:
        raise WorkloadError(f"timestep_spacing: found {spacing!r}, expected one of {', '.join(SPACINGS)}")
    pipeline.scheduler = type(scheduler).from_config(scheduler.config, timestep_spacing=spacing)
    try:
        yield
    finally:
        pipeline.scheduler = scheduler
