"""Views of a network that is a row of alike blocks: what a range of them adds to its input is stored and added again.

The lists of blocks keep their length, so whatever a model's own forward indexes by block (residuals of a ControlNet,
layers to skip) still meets the block that it is meant for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias, cast

import torch
from torch import nn

from deepcadence.schedules.families.base import Views
from deepcadence.schedules.families.shallow import shallow

Streams: TypeAlias = tuple[torch.Tensor, ...]
"""What flows from block to block, each (batch, tokens, channels): that of the image, and in two-stream models text."""


class Range(NamedTuple):
    """Blocks `start` to `stop`, counted through all lists of blocks; `stop` is the first one that runs again."""

    start: int
    stop: int


class Mark(nn.Module):
    """Keeps what enters a block, and runs it; without a block, hands on what entered."""

    def __init__(self, block: nn.Module | None, *, paired: bool) -> None:
        super().__init__()
        self.block, self.paired = block, paired
        self.context_pre_only = getattr(block, "context_pre_only", False)  # Stable Diffusion 3's forward reads it
        self.entered: Streams | None = None

    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        self.entered = streams_of(hidden_states, args, kwargs, paired=self.paired)
        return output_of(self.entered) if self.block is None else self.block(hidden_states, *args, **kwargs)


class LeftOut(nn.Module):
    """Stands for a block that does not run."""

    def __init__(self, *, paired: bool) -> None:
        super().__init__()
        self.paired, self.context_pre_only = paired, False

    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        return output_of(streams_of(hidden_states, args, kwargs, paired=self.paired))


class Resume(nn.Module):
    """Runs the first block after the range on what entered the range plus the stored residual."""

    def __init__(self, block: nn.Module, before: Mark) -> None:
        super().__init__()
        self.block, self.before = block, before
        self.context_pre_only = getattr(block, "context_pre_only", False)
        self.feature: torch.Tensor | None = None

    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        entered = cast(Streams, self.before.entered)
        return run_block(self.block, add_residual(entered, cast(torch.Tensor, self.feature)), args, kwargs)


def run_block(block: nn.Module, streams: Streams, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a block on these streams rather than those among its arguments, of which `args` leaves out the first."""
    image, *text = streams
    if text and args:
        return block(image, *text, *args[1:], **kwargs)
    if text:
        kwargs["encoder_hidden_states"] = text[0]
    return block(image, *args, **kwargs)


def streams_of(
    hidden_states: torch.Tensor, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, paired: bool
) -> Streams:
    """The streams among the arguments of a block."""
    if not paired:
        return (hidden_states,)
    return hidden_states, args[0] if args else kwargs["encoder_hidden_states"]


def output_of(streams: Streams) -> Any:
    """The streams as a block returns them: the text first."""
    return streams[0] if len(streams) == 1 else streams[::-1]


def residual_of(before: Streams, after: Streams) -> torch.Tensor:
    """What was added in between; two streams become one tensor, the image's tokens first."""
    parts = [new - old for old, new in zip(before, after, strict=True)]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def add_residual(before: Streams, residual: torch.Tensor) -> Streams:
    """The streams that such a tensor leads to."""
    parts = torch.split(residual, [stream.shape[1] for stream in before], dim=1)
    return tuple(stream + part for stream, part in zip(before, parts, strict=True))


def with_blocks(model: nn.Module, paths: Iterable[str], replaced: Mapping[int, nn.Module]) -> nn.Module:
    """The model with other blocks in some places, counted through all the lists of blocks in `paths`."""
    lists: dict[str, nn.Module | None] = {}
    first = 0
    for path in paths:
        blocks = list(cast(nn.ModuleList, getattr(model, path)))
        lists[path] = nn.ModuleList(replaced.get(index, block) for index, block in enumerate(blocks, first))
        first += len(blocks)
    return shallow(model, **lists)


class ResidualViews(Views):
    """Views of a model whose forward runs the lists of blocks in `paths`, one after the other.

    Args:
        model: the model.
        paths: names of its lists of blocks, in the order in which they run.
        ranges: the blocks that a partial call leaves out, for each cut; never the first block, nor the last one.
        paired: whether two streams run through the blocks, as `block(image, text, ...) -> (text, image)`.
    """

    def __init__(self, model: nn.Module, paths: Iterable[str], ranges: Mapping[int, Range], *, paired: bool) -> None:
        self._ranges = dict(ranges)
        paths = list(paths)
        blocks = [block for path in paths for block in cast(nn.ModuleList, getattr(model, path))]
        edges = {index for each in self._ranges.values() for index in each}
        self._marks = {index: Mark(blocks[index], paired=paired) for index in edges}
        self._full = with_blocks(model, paths, self._marks)
        self._partial: dict[int, tuple[nn.Module, Mark, Resume]] = {}
        for cut, (start, stop) in self._ranges.items():
            mark, left_out = Mark(None, paired=paired), LeftOut(paired=paired)
            resume = Resume(blocks[stop], mark)
            replaced = {**dict.fromkeys(range(start, stop), left_out), start: mark, stop: resume}
            self._partial[cut] = with_blocks(model, paths, replaced), mark, resume

    def full(self, *args: Any, **kwargs: Any) -> tuple[Any, dict[int, torch.Tensor]]:
        """See `Views.full`; a cut at a block that this call was told to skip has no feature."""
        try:
            output = self._full.forward(*args, **kwargs)
            features: dict[int, torch.Tensor] = {}
            for cut, (start, stop) in self._ranges.items():
                before, after = self._marks[start].entered, self._marks[stop].entered
                if before is not None and after is not None:
                    features[cut] = residual_of(before, after)
            return output, features
        finally:
            for mark in self._marks.values():
                mark.entered = None

    def partial(self, cut: int, feature: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """See `Views.partial`."""
        view, mark, resume = self._partial[cut]
        resume.feature = feature
        try:
            return view.forward(*args, **kwargs)
        finally:
            resume.feature = mark.entered = None
