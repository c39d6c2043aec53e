"""What a family of denoisers must provide so that the runtime can cache it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import torch
from torch import nn

from deepcadence.schedules.errors import UnsupportedModelError
from deepcadence.schedules.families.midway import Midway


class Views(ABC):
    """The two ways to call one model, for one run and a fixed set of cuts.

    Views share every parameter and submodule with the model that they were made from. They hold
    a feature only while a call is under way.
    """

    @abstractmethod
    def full(self, *args: Any, **kwargs: Any) -> tuple[Any, dict[int, torch.Tensor]]:
        """Run the whole network on the arguments of `model.forward`.

        Returns its output, equal to the bit to the model's own, and the feature of each cut.
        """

    @abstractmethod
    def partial(self, cut: int, feature: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """Run only the layers outside `cut`, around `feature`, which is left unchanged."""


class Family(ABC):
    """One kind of denoiser: how to recognize it, number its cuts and split it.

    A family is found by the structure of the model, not by its class name. It is stateless.
    """

    name: str
    exact: bool = True
    """Whether a partial call right after a full call at the same input equals it to the bit. It does not where features
    are residuals, which are subtracted and added again."""

    @abstractmethod
    def refusal(self, model: nn.Module) -> str | None:
        """Why this family cannot serve `model`, in words for its owner; None if it can."""

    @abstractmethod
    def cuts(self, model: nn.Module) -> dict[int, str]:
        """Each cut, from 0, the outermost and cheapest, and the dotted name of the first re-run layer.

        Where features are residuals, the names of the first and the last block that they stand for.
        """

    @abstractmethod
    def views(self, model: nn.Module, cuts: Iterable[int]) -> Views:
        """Views of `model` as it is now for `cuts`.

        Raises:
            UnsupportedModelError: a block that a cut must split carries a hook of its own.
        """

    def midway(self, model: nn.Module, cuts: Iterable[int]) -> Midway:
        """`model` as it is now as a network that decides at one of `cuts` whether to go on, for reuse "adaptive".

        Raises:
            UnsupportedModelError: the family has none, or as `views` does.
        """
        raise UnsupportedModelError(
            f"{type(model).__name__}: reuse mode \"adaptive\" is not supported by family '{self.name}', whose networks "
            'cannot decide midway; use "hold" or "extrapolate"'
        )

    @abstractmethod
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
        """Random keyword arguments for `model.forward`.

        `size` is (height, width) in the model's own space, with more dimensions before them where it has more, such as
        the frames of a video; None is the configured sample size, or what the model's pipelines have by default.
        `device` and `dtype` are the model's where they are None.
        """

    @abstractmethod
    def small_size(self, model: nn.Module) -> tuple[int, ...]:
        """A small `size` that the model accepts, for quick checks."""

    def size_of(self, model: nn.Module, shape: Sequence[int]) -> tuple[int, ...]:
        """The `size` of samples of this shape (without the batch): its last two sides, unless a family knows better."""
        return tuple(shape[-2:])

    def small_inputs(
        self, model: nn.Module, *, device: torch.device | str | None, generator: torch.Generator
    ) -> dict[str, Any]:
        """Random keyword arguments for `model.forward` of that size."""
        return self.example_inputs(model, size=self.small_size(model), device=device, generator=generator)

    @abstractmethod
    def state(self, model: nn.Module) -> Hashable:
        """What views depend on beyond parameters; once it differs, they must be made anew. Read at every call."""
