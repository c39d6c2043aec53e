"""U-Nets of diffusers: images, text to image, and video (Stable Video Diffusion, AnimateDiff, text to video)."""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, cast

import torch
from torch import nn

from deepcadence.schedules.families.base import Family
from deepcadence.schedules.families.inputs import draw, parameter_names
from deepcadence.schedules.families.skips import blocks_of, layers_of, skip_consumers, skip_sources
from deepcadence.schedules.families.unet_inputs import (
    class_inputs,
    frames_axis,
    image_conditions,
    sample_shape,
    text_conditions,
)
from deepcadence.schedules.families.unet_midway import UNetMidway
from deepcadence.schedules.families.unet_views import FREEU, UNetViews

_MANY_CHANNELS = 16  # of a group of the innermost norms
_KNOWN = ("sample", "timestep", "encoder_hidden_states", "added_time_ids")


class UNetFamily(Family):
    """U-Nets with `conv_in`, `down_blocks`, `mid_block` and `up_blocks`, one skip a layer."""

    name = "unet"

    def refusal(self, model: nn.Module) -> str | None:
        """See `Family.refusal`."""
        missing = [name for name in ("conv_in", "down_blocks", "up_blocks", "conv_out") if not hasattr(model, name)]
        if missing:
            return f"it has no {', '.join(missing)}"
        names = parameter_names(model)
        if names[:2] != ("sample", "timestep"):
            return f"its forward takes {', '.join(names[:2])}, ... rather than sample, timestep, ..."
        unknown = [name for name in _required(type(model)) if name not in _KNOWN]
        if unknown:
            return f"its forward needs {', '.join(unknown)}, which no U-Net known here takes"
        for path in ("down_blocks", "up_blocks"):
            for index, block in enumerate(blocks_of(model, path)):
                if hasattr(block, "skip_conv"):
                    return f"{path}.{index} is a {type(block).__name__}: its second, image-sized skip path has no cut"
                if not isinstance(getattr(block, "resnets", None), nn.ModuleList) or not layers_of(block):
                    return f"{path}.{index} is a {type(block).__name__} without resnets"
        made, consumed = len(skip_sources(model)), len(skip_consumers(model))
        if made != consumed:
            return f"its down path makes {made} skips, its up path consumes {consumed}"
        return None

    def cuts(self, model: nn.Module) -> dict[int, str]:
        """See `Family.cuts`."""
        return {
            cut: f"up_blocks.{position.block}.resnets.{position.layer}"
            for cut, position in enumerate(skip_consumers(model))
        }

    def views(self, model: nn.Module, cuts: Iterable[int]) -> UNetViews:
        """See `Family.views`."""
        return UNetViews(model, cuts)

    def midway(self, model: nn.Module, cuts: Iterable[int]) -> UNetMidway:
        """See `Family.midway`."""
        return UNetMidway(model, cuts)

    def small_size(self, model: nn.Module) -> tuple[int, ...]:
        """See `Family.small_size`: 2x2 at the bottom, since a norm needs more than one value per group; two frames.

        Large models, whose groups have many channels, are content with 1x1, a quarter of the work.
        """
        down = blocks_of(model, "down_blocks")
        halvings = sum(bool(getattr(block, "downsamplers", None)) for block in down)
        norms = [module for module in down[-1].modules() if isinstance(module, nn.GroupNorm)]
        large = bool(norms) and min(norm.num_channels // norm.num_groups for norm in norms) >= _MANY_CHANNELS
        side = 2 ** (halvings + (not large))
        return (side, side) if frames_axis(model) is None else (2, side, side)

    def size_of(self, model: nn.Module, shape: Sequence[int]) -> tuple[int, ...]:
        """See `Family.size_of`."""
        axis = frames_axis(model)
        sides = tuple(shape[-2:])
        return sides if axis is None else (shape[axis - 1], *sides)

    def state(self, model: nn.Module) -> Hashable:
        """See `Family.state`: which submodules there are, and FreeU."""
        down = cast(nn.Module, model._modules["down_blocks"])._modules.values()
        up = cast(nn.Module, model._modules["up_blocks"])._modules.values()
        freeu = [block.__dict__.get(name) for block in up for name in FREEU]
        return (*model._modules.values(), *down, *up, *freeu)

    def example_inputs(
        self,
        model: nn.Module,
        *,
        batch: int = 1,
        size: tuple[int, ...] | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, Any]:
        """See `Family.example_inputs`."""
        weight = cast(torch.Tensor, cast(nn.Module, model.conv_in).weight)
        device, dtype = device or weight.device, dtype or cast(torch.dtype, getattr(model, "dtype", weight.dtype))
        randn, shape, names = draw(device, dtype, generator), sample_shape(model, size), parameter_names(model)
        inputs: dict[str, Any] = {
            "sample": randn(batch, *shape),
            "timestep": torch.full((batch,), 500, device=device),
        }
        if "added_time_ids" in names:
            inputs |= image_conditions(model, batch, randn)
        elif "encoder_hidden_states" in names:
            axis = frames_axis(model)
            inputs |= text_conditions(model, batch, 1 if axis is None else shape[axis - 1], randn)
        return inputs | class_inputs(model, batch, device, randn)


def _required(model_class: type[nn.Module]) -> list[str]:
    """The arguments that `forward` cannot do without."""
    parameters = list(inspect.signature(model_class.forward).parameters.values())[1:]
    fixed = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [one.name for one in parameters if one.default is one.empty and one.kind not in fixed]
