"""Weights that are kept elsewhere: the hooks of accelerate and of diffusers (group offload), read by structure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn

__all__ = ["execution_device", "other_hooks", "prefetches", "wrapped_forwards"]


def wrapped_forwards(module: nn.Module) -> list[Any]:
    """What diffusers' hooks on `module` itself keep its forward in, as `forward`, the innermost first."""
    return list(getattr(module.__dict__.get("_diffusers_hook"), "_fn_refs", ()))


def other_hooks(module: nn.Module) -> Iterator[type]:
    """The kinds of diffusers' hooks on `module` itself that are not there to offload it."""
    return (type(hook) for hook in _hooks(module) if not hasattr(getattr(hook, "config", None), "onload_device"))


def execution_device(model: nn.Module) -> torch.device | str | None:
    """Where an offloaded model computes; None if it is not offloaded."""
    for module in model.modules():
        device = getattr(getattr(module, "_hf_hook", None), "execution_device", None)
        if device is not None:
            return device  # type: ignore[no-any-return]
    return next((config.onload_device for config in _group_offloads(model)), None)


def prefetches(model: nn.Module) -> bool:
    """Whether group offload loads blocks ahead, on a stream of its own, in the order of a full call."""
    return any(config.stream is not None for config in _group_offloads(model))


def _hooks(module: nn.Module) -> Iterable[Any]:
    hooks: dict[str, Any] = getattr(module.__dict__.get("_diffusers_hook"), "hooks", {})
    return hooks.values()


def _group_offloads(model: nn.Module) -> Iterator[Any]:
    """The configuration of each group offload hook in a model."""
    configs = (getattr(hook, "config", None) for module in model.modules() for hook in _hooks(module))
    return (config for config in configs if hasattr(config, "onload_device"))
