"""Views of a U-Net: its own `forward` over other block lists.

Cut b re-runs the layers from the one that consumes skip b, and the feature is the tensor that enters that layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from deepcadence.schedules.families.base import Views
from deepcadence.schedules.families.inputs import by_name, parameter_names
from deepcadence.schedules.families.shallow import shallow
from deepcadence.schedules.families.skips import Position, blocks_of, layers_of, segment, skip_consumers, skip_sources
from deepcadence.schedules.families.stand_ins import Stored

FREEU = ("s1", "s2", "b1", "b2")


def writes_in_place(block: nn.Module) -> bool:
    """Whether the block overwrites its input, as FreeU does."""
    return all(getattr(block, name, None) for name in FREEU)


class Tap(nn.Module):
    """Puts what enters an up block among `features`, and runs the block."""

    def __init__(self, block: nn.Module, cut: int, features: dict[int, torch.Tensor]) -> None:
        super().__init__()
        self.block, self.cut, self.features = block, cut, features
        self.copies = writes_in_place(block)
        self.resnets = block.resnets
        self.has_cross_attention = getattr(block, "has_cross_attention", False)

    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        self.features[self.cut] = hidden_states.clone() if self.copies else hidden_states
        return self.block(hidden_states, *args, **kwargs)


class PartialView(NamedTuple):
    """The network outside one cut."""

    model: nn.Module
    stored: Stored
    copies_feature: bool
    intrablock_residuals: int


class UNetViews(Views):
    """Views of a U-Net: its own `forward` over other block lists."""

    def __init__(self, model: nn.Module, cuts: Iterable[int]) -> None:
        self._names = parameter_names(model)
        self._features: dict[int, torch.Tensor] = {}  # of the call under way
        self._full = _full_view(model, sorted(cuts), self._features)
        self._partial = {cut: _partial_view(model, cut) for cut in cuts}

    def full(self, *args: Any, **kwargs: Any) -> tuple[Any, dict[int, torch.Tensor]]:
        """See `Views.full`."""
        try:
            output = self._full.forward(*args, **kwargs)
            return output, dict(self._features)
        finally:
            self._features.clear()

    def partial(self, cut: int, feature: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """See `Views.partial`."""
        view = self._partial[cut]
        kwargs = _partial_residuals(by_name(self._names, args, kwargs), view, self._names)
        view.stored.feature = feature.clone() if view.copies_feature else feature
        try:
            return view.model.forward(**kwargs)
        finally:
            view.stored.feature = None


def _full_view(model: nn.Module, cuts: Sequence[int], features: dict[int, torch.Tensor]) -> nn.Module:
    """The whole network, with a tap at each cut."""
    up_blocks = [part if cut is None else Tap(part, cut, features) for part, cut in split_up_blocks(model, cuts)]
    return shallow(model, up_blocks=nn.ModuleList(up_blocks))


def split_up_blocks(model: nn.Module, cuts: Sequence[int]) -> list[tuple[nn.Module, int | None]]:
    """The up blocks, split where a cut is, and the cut whose feature enters each part; None where there is none."""
    taps = {position: cut for cut, position in enumerate(skip_consumers(model)) if cut in cuts}
    parts: list[tuple[nn.Module, int | None]] = []
    for index, block in enumerate(blocks_of(model, "up_blocks")):
        starts = sorted({0, *(position.layer for position in taps if position.block == index)})
        for start, stop in zip(starts, [*starts[1:], layers_of(block)], strict=True):
            part = segment(block, start, stop, ends=stop == layers_of(block), name=f"up_blocks.{index}")
            parts.append((part, taps.get(Position(index, start))))
    return parts


def _partial_view(model: nn.Module, cut: int) -> PartialView:
    """The network outside `cut`: down to skip `cut`, the stored feature, up from its consumer."""
    source, consumer = skip_sources(model)[cut], skip_consumers(model)[cut]
    down, up = blocks_of(model, "down_blocks"), blocks_of(model, "up_blocks")
    down_blocks = down[: max(source.block, 0)]
    residuals = len(down_blocks)
    if source.block >= 0:
        last = down[source.block]
        layers = layers_of(last)
        whole = source.layer >= layers or (source.layer == layers - 1 and not getattr(last, "downsamplers", None))
        part = segment(last, 0, min(source.layer + 1, layers), ends=whole, name=f"down_blocks.{source.block}")
        down_blocks.append(part)
        # An adapter's residual belongs to the block's last layer, or to its output.
        ends_with_last_layer = getattr(last, "has_cross_attention", False) and source.layer >= layers - 1
        residuals += int(whole or ends_with_last_layer)
    first = up[consumer.block]
    part = segment(first, consumer.layer, layers_of(first), ends=True, name=f"up_blocks.{consumer.block}")
    stored = Stored()
    view = shallow(
        model,
        down_blocks=nn.ModuleList(down_blocks),
        mid_block=stored,
        up_blocks=nn.ModuleList([part, *up[consumer.block + 1 :]]),
    )
    return PartialView(view, stored, writes_in_place(first), residuals)


def own_residuals(kwargs: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """The residuals of an adapter as a list of our own, under their proper name: the model takes them off it."""
    down, intrablock = kwargs.get("down_block_additional_residuals"), kwargs.get("down_intrablock_additional_residuals")
    known = "down_intrablock_additional_residuals" in names
    if known and down is not None and intrablock is None and kwargs.get("mid_block_additional_residual") is None:
        # the deprecated way to pass them
        kwargs["down_block_additional_residuals"], intrablock = None, down
    if intrablock is not None:
        kwargs["down_intrablock_additional_residuals"] = list(intrablock)
    return kwargs


def _partial_residuals(kwargs: dict[str, Any], view: PartialView, names: tuple[str, ...]) -> dict[str, Any]:
    """Residuals for a partial call: those of ControlNet for the skips that run, of an adapter for its blocks.

    The mid residual is in the feature already. diffusers zips the down residuals with the skips
    that exist, so the surplus needs no care; adapters' residuals are consumed block by block.
    """
    kwargs = own_residuals(kwargs, names)
    mid, intrablock = kwargs.get("mid_block_additional_residual"), kwargs.get("down_intrablock_additional_residuals")
    if mid is not None:
        kwargs["mid_block_additional_residual"] = torch.zeros_like(mid[:1, :1, :1, :1])
    if intrablock is not None:
        del intrablock[view.intrablock_residuals :]
    return kwargs
