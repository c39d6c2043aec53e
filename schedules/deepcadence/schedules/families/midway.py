"""Networks that decide midway: with the outer layers of the way in behind it, a call turns back or goes on inside.

Such a network is the model's own `forward` over lists of blocks that end, and begin, where the call turned back. What
ran before the decision is used whatever it is: nothing runs twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import nn


@dataclass
class Crossing:
    """One call of a network that decides midway: what it is told, and then what it met.

    Attributes:
        cut: where the call may turn back; None for a full call.
        feature: what the layers outside `cut` are given if it does.
        turns_back: whether it does, given what enters `cut` now. Asked once at most.
        turned_back: whether it did: then it was a partial call.
        entered: what entered each cut; only those outside `cut` if it turned back.
        features: the feature of each cut; empty if it turned back.
    """

    cut: int | None = None
    feature: torch.Tensor | None = None
    turns_back: Callable[[torch.Tensor], bool] | None = None
    turned_back: bool = False
    entered: dict[int, torch.Tensor] = field(default_factory=dict)
    features: dict[int, torch.Tensor] = field(default_factory=dict)

    def enter(self, cut: int, tensor: torch.Tensor, *, copies: bool = False) -> None:
        """`tensor` enters `cut`: decide whether to turn back, if it is here. `copies` if `tensor` is overwritten."""
        if cut == self.cut and self.turns_back is not None:
            self.turned_back = self.turns_back(tensor)
            if not self.turned_back:
                self.feature = None  # make room for the new one
        if not self.turned_back:
            self.entered[cut] = tensor.clone() if copies else tensor

    def leave(self, cut: int, tensor: torch.Tensor, *, copies: bool = False) -> torch.Tensor:
        """What the layers outside `cut` get, where those before gave `tensor`; `copies` if they overwrite it."""
        given = tensor
        if not self.turned_back:
            self.features[cut] = given
        elif cut == self.cut:
            given = cast(torch.Tensor, self.feature)
        return given.clone() if copies else given


class Road:
    """The crossing that is under way, for all modules of one network."""

    def __init__(self) -> None:
        self.crossing = Crossing()

    @property
    def back_at(self) -> int | None:
        """The cut at which the present call turned back; None if it did not, or not yet."""
        return self.crossing.cut if self.crossing.turned_back else None


class Inward(nn.ModuleList):
    """Blocks of the way in; there are no more of them once the call turned back."""

    def __init__(self, blocks: Sequence[nn.Module], road: Road) -> None:
        super().__init__(blocks)
        self.road = road

    def __iter__(self) -> Iterator[nn.Module]:
        for block in self._modules.values():
            if self.road.back_at is not None:
                return
            yield block


class Outward(nn.ModuleList):
    """Blocks of the way out: all of them, or those outside the cut where the call turned back.

    `first` gives, for each cut, the index of the first of those.
    """

    def __init__(self, blocks: Sequence[nn.Module], road: Road, first: Mapping[int, int]) -> None:
        super().__init__()
        self.road, self.first = road, first
        for index, block in enumerate(blocks):
            self.add_module(str(index), block)

    def _taken(self) -> list[nn.Module]:
        cut = self.road.back_at
        return list(self._modules.values())[0 if cut is None else self.first[cut] :]

    def __iter__(self) -> Iterator[nn.Module]:
        return iter(self._taken())

    def __len__(self) -> int:
        return len(self._taken())


class Midway:
    """A network that decides midway, made for one model and a fixed set of cuts."""

    def __init__(self, network: nn.Module, road: Road) -> None:
        self._network, self._road = network, road

    def __call__(self, crossing: Crossing, *args: Any, **kwargs: Any) -> Any:
        """Make one call with the arguments of `model.forward`; returns its output and fills in `crossing`."""
        self._road.crossing = crossing
        try:
            return self._network.forward(*args, **kwargs)
        finally:
            self._road.crossing = Crossing()
