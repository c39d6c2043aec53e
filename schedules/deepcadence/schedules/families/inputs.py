"""What the inputs of every family have in common: the names of a forward's arguments, and random tensors."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

Randn = Callable[..., torch.Tensor]


def parameter_names(model: nn.Module) -> tuple[str, ...]:
    """The names of the arguments of a model's forward, in order."""
    return tuple(inspect.signature(type(model).forward).parameters)[1:]


def by_name(names: Sequence[str], args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call, those without a name by the one that they have in `forward`."""
    return {**dict(zip(names, args)), **kwargs}  # noqa: B905 - torch 2.9 cannot compile `strict`


def draw(device: torch.device | str, dtype: torch.dtype, generator: torch.Generator | None) -> Randn:
    """`torch.randn`, drawn on the CPU, so a seed means the same everywhere; nothing is drawn for the meta device."""

    def randn(*shape: int) -> torch.Tensor:
        if torch.device(device).type == "meta":
            return torch.empty(shape, device=device, dtype=dtype)
        return torch.randn(shape, generator=generator, device="cpu").to(device, dtype)

    return randn
