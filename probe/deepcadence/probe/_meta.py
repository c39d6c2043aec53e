"""Models without weights: twins on the meta device, where every operation computes shapes only."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import nn
from torch.nn.modules.module import register_module_module_registration_hook

__all__ = ["bounded", "build", "meta_twin"]

_MAX_MODULES = 50_000


@contextmanager
def bounded() -> Iterator[None]:
    """`RuntimeError` where this thread makes more than 50,000 modules inside: a config could ask for any number."""
    thread, made = threading.get_ident(), 0

    def count(*_: object) -> None:
        nonlocal made
        made += threading.get_ident() == thread
        if made > _MAX_MODULES:
            raise RuntimeError(f"found a config that asks for more than {_MAX_MODULES} modules, expected a model's")

    handle = register_module_module_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


def build(model_class: Any, config: Mapping[str, Any]) -> nn.Module:
    """An instance of a diffusers model class on the meta device: no memory, no random numbers."""
    with bounded(), torch.device("meta"):
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
