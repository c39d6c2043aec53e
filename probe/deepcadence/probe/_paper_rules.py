"""MACs by the rules of the DeepCache paper's tables (Ma et al., CVPR 2024), which are those of hook-based counters.

A convolution counts its multiplications, and its bias, at each output position; a linear layer counts its
multiplications and one row of bias; an affine `nn.GroupNorm` or `nn.LayerNorm`, of exactly that type, counts two per
element. Attention's matrix products, activations and everything functional count nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.utils.hooks import RemovableHandle

__all__ = ["Tally", "paper_rules"]


@dataclass
class Tally:
    """A running total of MACs."""

    macs: int = 0


def _layer_macs(layer: nn.Module, entering: torch.Tensor, leaving: torch.Tensor) -> int:
    if isinstance(layer, nn.Linear):
        return leaving.numel() * layer.in_features + (layer.out_features if _has(layer, "bias") else 0)
    if isinstance(layer, _ConvNd):
        bias = leaving.numel() if _has(layer, "bias") else 0
        per_output = layer.weight[0].numel()
        transposed = isinstance(layer, _ConvTransposeNd)
        return (entering.numel() if transposed else leaving.numel()) * per_output + bias
    affine = type(layer) in (nn.GroupNorm, nn.LayerNorm) and _has(layer, "weight")
    return 2 * entering.numel() if affine else 0


def _has(layer: nn.Module, parameter: str) -> bool:
    return getattr(layer, parameter, None) is not None


@contextmanager
def paper_rules(model: nn.Module) -> Iterator[Tally]:
    """Count what the leaf layers of `model` do inside the `with` block; the hooks are always removed."""
    tally = Tally()

    def count(layer: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        tally.macs += _layer_macs(layer, args[0], output)

    counted = (nn.Linear, _ConvNd, nn.GroupNorm, nn.LayerNorm)
    handles: list[RemovableHandle] = []
    try:
        for layer in filter(lambda layer: isinstance(layer, counted), model.modules()):
            handles.append(layer.register_forward_hook(count))  # noqa: PERF401 - a comprehension would lose them on error
        yield tally
    finally:
        for handle in handles:
            handle.remove()
