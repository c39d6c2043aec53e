"""The module that a pipeline calls as its denoiser."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from deepcadence.probe.errors import WorkloadError
from deepcadence.schedules import denoiser
from deepcadence.schedules.dispatch import Answer, active, install, uninstall

__all__ = ["answering", "by_row", "first_tensor", "output_tensor", "timestep_numbers", "timestep_of"]

Original = Callable[..., Any]


@contextmanager
def answering(pipeline: Any, answer: Answer) -> Iterator[Original]:
    """`answer(args, kwargs)` answers the denoiser's calls, in this thread; the denoiser is as before afterwards.

    Yields:
        the denoiser's own forward.
    """
    model = denoiser(pipeline)
    components: list[Any] = [getattr(pipeline, name, None) for name in ("unet", "transformer")]
    called: nn.Module = next((part for part in components if getattr(part, "_orig_mod", part) is model), model)
    installation = install(called)
    try:
        with active(called, answer):
            yield installation.original
    finally:
        uninstall(installation)


def first_tensor(named: Mapping[str, Any]) -> torch.Tensor:
    """The denoiser's sample: the first tensor of more than one dimension among its arguments."""
    for value in named.values():
        if isinstance(value, torch.Tensor) and value.ndim > 1:
            return value
    raise WorkloadError(f"the denoiser was called with {', '.join(named)}; expected a batch of samples among them")


def by_row(feature: torch.Tensor, rows: int) -> torch.Tensor:
    """A feature with the `rows` of its call first: video models fold frames into the batch, here they come second."""
    return feature if len(feature) == rows else feature.reshape(rows, -1, *feature.shape[1:])


def output_tensor(output: Any) -> torch.Tensor:
    """The tensor in what a denoiser returns: a tensor, an output object of diffusers, or a tuple."""
    value = output if isinstance(output, torch.Tensor) else output[0]
    if isinstance(value, torch.Tensor):
        return value
    raise WorkloadError(f"the denoiser returned a {type(output).__name__}; expected a tensor as its first part")


def timestep_of(named: Mapping[str, Any]) -> Any:
    """The denoiser's timestep argument; None if it takes none."""
    return named.get("timestep", named.get("timesteps"))


def timestep_numbers(timesteps: list[Any]) -> tuple[float, ...] | None:
    """Recorded timestep arguments as numbers; None if a call had none. Reads the device: for after the run."""
    if any(value is None for value in timesteps):
        return None
    return tuple(float(value.flatten()[0]) if isinstance(value, torch.Tensor) else float(value) for value in timesteps)
