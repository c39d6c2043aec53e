"""Following one run of a pipeline without paying for it."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from deepcadence.probe._called import (
    answering,
    first_tensor,
    output_tensor,
    timestep_numbers,
    timestep_of,
)
from deepcadence.probe.errors import WorkloadError
from deepcadence.schedules import denoiser
from deepcadence.schedules.families.inputs import by_name, parameter_names
from deepcadence.schedules.guided import Side, Sides

if TYPE_CHECKING:
    from deepcadence.probe.workload import Workload

__all__ = ["Trace", "trace", "without_decoding"]


@dataclass(frozen=True)
class Trace:
    """How one run of one sample calls its denoiser.

    Attributes:
        num_calls: calls in the run; where the sides of guidance are calls of their own, those of one side.
        rows: rows for one sample, of all sides: 2 with classifier-free guidance.
        sample_shape: (channels, height, width) of the denoiser's input; of a video with its frames; (tokens, channels)
            of packed latents.
        dtype: of the denoiser's output.
        timesteps: timestep of each call; None if the denoiser takes none.
        sides: calls a step: 2 where the sides of guidance are calls of their own.
    """

    num_calls: int
    rows: int
    sample_shape: tuple[int, ...]
    dtype: torch.dtype
    timesteps: tuple[float, ...] | None
    sides: int = 1


class _Follower:
    """Has the denoiser answer the first call, and answers every further one with that same output."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self._side_of = Sides(names)
        self.forward: Any = None
        self.output: Any = None
        self.shape = torch.Size()
        self.timesteps: dict[Side, list[Any]] = {}
        self.rows: dict[Side, int] = {}

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        named = by_name(self._names, args, kwargs)
        shape, side = first_tensor(named).shape, self._side_of(args, kwargs)
        self.timesteps.setdefault(side, []).append(timestep_of(named))
        self.rows[side] = shape[0]
        if shape != self.shape:
            self.output, self.shape = self.forward(*args, **kwargs), shape
        return self.output


def trace(workload: Workload, steps: int | None = None) -> Trace:
    """See `Workload.trace`."""
    follower = _Follower(parameter_names(denoiser(workload.pipeline)))
    with answering(workload.pipeline, follower) as forward:
        follower.forward = forward
        workload.call((workload.seeds or (0,))[:1], steps=steps, **without_decoding(workload.pipeline))
    if not follower.timesteps:
        raise WorkloadError(
            f"{type(workload.pipeline).__name__} did not call its denoiser as expected; if a schedule is attached to "
            "it, remove that first"
        )
    timesteps = max(follower.timesteps.values(), key=len)
    return Trace(
        num_calls=len(timesteps),
        rows=sum(follower.rows.values()),
        sample_shape=tuple(follower.shape[1:]),
        dtype=output_tensor(follower.output).dtype,
        timesteps=timestep_numbers(timesteps),
        sides=len(follower.timesteps),
    )


def without_decoding(pipeline: Any) -> dict[str, Any]:
    """Call arguments that spare the decoder, where the pipeline has a way to say so."""
    taken = inspect.signature(pipeline.__call__).parameters
    return {"output_type": "latent"} if {"latents", "output_type"} <= set(taken) else {}
