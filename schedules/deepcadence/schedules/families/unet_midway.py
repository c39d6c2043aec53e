"""U-Nets that decide midway: what enters cut b is the b-th skip.

Every down block that makes a skip of a cut in use is run in parts, with the decision between them. The up blocks are
those of the full view.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from deepcadence.schedules.families.inputs import by_name, parameter_names
from deepcadence.schedules.families.midway import Crossing, Inward, Midway, Outward, Road
from deepcadence.schedules.families.shallow import shallow
from deepcadence.schedules.families.skips import blocks_of, layers_of, segment, skip_sources
from deepcadence.schedules.families.unet_views import own_residuals, split_up_blocks, writes_in_place


class UNetRoad(Road):
    """And the residuals of an adapter that are still to be added, block by block."""

    residuals: list[torch.Tensor] | None = None


class Forked(nn.Module):
    """A down block in parts, each of which may end at a cut.

    Args:
        block: the block.
        cuts: the cut after each of its layers that makes a skip of one; a downsampler counts as the layer behind the
            last, and -1 is the input of the block.
        road: of the network.
        name: what errors call the block.
    """

    def __init__(self, block: nn.Module, cuts: Mapping[int, int], road: UNetRoad, name: str) -> None:
        super().__init__()
        self.has_cross_attention = getattr(block, "has_cross_attention", False)
        self.cuts, self.road, layers = dict(cuts), road, layers_of(block)
        samples = bool(getattr(block, "downsamplers", None))
        self.end = layers if samples else layers - 1  # the layer that makes the last skip
        self.parts, self.stops = nn.ModuleList(), []
        start = 0
        for stop in sorted({*(layer for layer in cuts if layer >= 0), self.end}):
            last = stop == self.end
            self.parts.append(segment(block, start, min(stop + 1, layers), ends=last, name=name))
            self.stops.append(stop)
            start = stop + 1
        self.last_layer = next(index for index, stop in enumerate(self.stops) if stop >= layers - 1)

    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        skips: tuple[torch.Tensor, ...] = ()
        residual = kwargs.pop("additional_residuals", None)  # of an adapter: added to the output of the last layer
        self._pass(-1, hidden_states)
        for index, (part, stop) in enumerate(zip(self.parts, self.stops, strict=True)):
            if self.road.back_at is not None:
                break
            own = {"additional_residuals": residual} if residual is not None and index == self.last_layer else {}
            hidden_states, made = part(hidden_states, *args, **kwargs, **own)
            skips += made
            self._pass(stop, hidden_states)
        return hidden_states, skips

    def _pass(self, layer: int, hidden_states: torch.Tensor) -> None:
        cut = self.cuts.get(layer)
        if cut is None:
            return
        residuals = self.road.residuals
        self.road.crossing.enter(cut, hidden_states, copies=bool(residuals))
        if residuals and self.road.back_at is not None:
            # What is left belongs to blocks that do not run, but for one that is added to the output of this block.
            del residuals[int(layer == self.end and not self.has_cross_attention) :]


class Bypassed(nn.Module):
    """The mid block, or none; after turning back a zero, of which the residual of a ControlNet makes what it likes."""

    def __init__(self, block: nn.Module | None, road: Road) -> None:
        super().__init__()
        self.block, self.road = block, road
        self.has_cross_attention = getattr(block, "has_cross_attention", False)
        motion = getattr(block, "motion_modules", None)
        if motion is not None:  # UNetMotionModel's forward asks whether there are any
            self.motion_modules = motion

    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        if self.road.back_at is not None:
            return hidden_states.new_zeros((1,) * hidden_states.ndim)
        return hidden_states if self.block is None else self.block(hidden_states, *args, **kwargs)


class Outlet(nn.Module):
    """The up block outside a cut: it is given the feature, new or old."""

    def __init__(self, block: nn.Module, cut: int, road: Road) -> None:
        super().__init__()
        self.block, self.cut, self.road = block, cut, road
        self.resnets = block.resnets
        self.has_cross_attention = getattr(block, "has_cross_attention", False)

    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        feature = self.road.crossing.leave(self.cut, hidden_states, copies=writes_in_place(self.block))
        return self.block(feature, *args, **kwargs)


class UNetMidway(Midway):
    """A U-Net that decides midway."""

    def __init__(self, model: nn.Module, cuts: Iterable[int]) -> None:
        self._names, cuts = parameter_names(model), sorted(cuts)
        self._road: UNetRoad = UNetRoad()
        super().__init__(_network(model, cuts, self._road), self._road)

    def __call__(self, crossing: Crossing, *args: Any, **kwargs: Any) -> Any:
        """See `Midway`."""
        kwargs = own_residuals(by_name(self._names, args, kwargs), self._names)
        self._road.residuals = kwargs.get("down_intrablock_additional_residuals")
        try:
            return super().__call__(crossing, **kwargs)
        finally:
            self._road.residuals = None


def _network(model: nn.Module, cuts: list[int], road: UNetRoad) -> nn.Module:
    down, sources = blocks_of(model, "down_blocks"), skip_sources(model)
    forks: dict[int, dict[int, int]] = {}
    for cut in cuts:
        source = sources[cut]
        forks.setdefault(max(source.block, 0), {})[source.layer if source.block >= 0 else -1] = cut
    for index, layers in forks.items():
        down[index] = Forked(down[index], layers, road, f"down_blocks.{index}")
    up_blocks: list[nn.Module] = []
    first: dict[int, int] = {}
    for part, entered in split_up_blocks(model, cuts):
        if entered is not None:
            first[entered] = len(up_blocks)
        up_blocks.append(part if entered is None else Outlet(part, entered, road))
    return shallow(
        model,
        down_blocks=Inward(down, road),
        mid_block=Bypassed(model.mid_block, road),  # type: ignore[arg-type]
        up_blocks=Outward(up_blocks, road, first),
    )
