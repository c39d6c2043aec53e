"""Networks of alike blocks that decide midway: what enters a cut is the image stream in front of its blocks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import torch
from torch import nn

from deepcadence.schedules.families.midway import Crossing, Midway, Road
from deepcadence.schedules.families.residual import (
    Range,
    Streams,
    add_residual,
    output_of,
    residual_of,
    run_block,
    streams_of,
    with_blocks,
)


class ResidualRoad(Road):
    """And the streams that entered the range of each cut in the call under way."""

    def __init__(self, ranges: Mapping[int, Range]) -> None:
        super().__init__()
        self.ranges = dict(ranges)
        self.entered: dict[int, Streams] = {}

    def left_out(self, index: int) -> bool:
        """Whether block `index` is one that the present call does not run."""
        cut = self.back_at
        return cut is not None and self.ranges[cut].start <= index < self.ranges[cut].stop

    def leave(self, cut: int, streams: Streams) -> Streams:
        """What the first block after the range of `cut` is given."""
        if self.back_at == cut:
            return add_residual(self.entered[cut], cast(torch.Tensor, self.crossing.feature))
        if self.back_at is None and cut in self.entered:  # a skipped block enters nothing
            self.crossing.leave(cut, residual_of(self.entered[cut], streams))
        return streams


class Station(nn.Module):
    """A block in, or right behind, the range of a cut."""

    def __init__(self, block: nn.Module, index: int, road: ResidualRoad, *, paired: bool) -> None:
        super().__init__()
        self.block, self.index, self.road, self.paired = block, index, road, paired
        self.context_pre_only = getattr(block, "context_pre_only", False)  # Stable Diffusion 3's forward reads it

    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        streams = streams_of(hidden_states, args, kwargs, paired=self.paired)
        for cut, (start, stop) in self.road.ranges.items():
            if stop == self.index:
                streams = self.road.leave(cut, streams)
            if start == self.index:
                self.road.entered[cut] = streams
                self.road.crossing.enter(cut, streams[0])
        if self.road.left_out(self.index):
            return output_of(streams)
        return run_block(self.block, streams, args, kwargs)


class ResidualMidway(Midway):
    """Such a model that decides midway; takes what `ResidualViews` does."""

    def __init__(self, model: nn.Module, paths: Iterable[str], ranges: Mapping[int, Range], *, paired: bool) -> None:
        self._road: ResidualRoad = ResidualRoad(ranges)
        paths = list(paths)
        blocks = [block for path in paths for block in cast(nn.ModuleList, getattr(model, path))]
        stations: dict[int, nn.Module] = {
            index: Station(blocks[index], index, self._road, paired=paired)
            for start, stop in ranges.values()
            for index in range(start, stop + 1)
        }
        super().__init__(with_blocks(model, paths, stations), self._road)

    def __call__(self, crossing: Crossing, *args: Any, **kwargs: Any) -> Any:
        """See `Midway`."""
        try:
            return super().__call__(crossing, *args, **kwargs)
        finally:
            self._road.entered = {}
