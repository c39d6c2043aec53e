"""Models without weights: twins on the meta device, where every operation computes shapes only."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import nn

__all__ = ["build", "meta_twin"]


def build(model_class: Any, config: Mapping[str, Any]) -> nn.Module:
    """An instance of a diffusers model class on the meta device: no memory, no random numbers."""
    with torch.device("meta"):
        model = cast(nn.Module, model_class.from_config(dict(config)).eval())
    return model.to("meta")  # some parameters (of Stable Video Diffusion) are made without asking for the device


def meta_twin(model: nn.Module) -> nn.Module:
    """A copy of `model` on the meta device; the model itself is neither moved nor run.

    A diffusers model is built again from its config, so what was added to it later (adapters, hooks, a replaced
    `forward`) is left out. Any other module is copied as it is, with every tensor replaced.
    """
    if hasattr(type(model), "from_config") and hasattr(model, "config"):
        return build(type(model), cast(Mapping[str, Any], model.config))
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(torch.empty_like(parameter, device="meta"), parameter.requires_grad)
    for buffer in model.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(model, memo).eval()
