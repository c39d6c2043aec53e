"""U-Nets as CompVis and guided-diffusion write them: `input_blocks`, `middle_block`, `output_blocks`.

Latent diffusion checkpoints still come that way. Every input block makes one skip, and the output blocks consume them
from the last to the first: output block i gets its input with skip n - 1 - i behind it. Cut b re-runs output block
n - 1 - b and those after it; the feature is what the block before it returned. No block is ever split.
"""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, cast

import torch
from torch import nn

from deepcadence.schedules.errors import UnsupportedModelError
from deepcadence.schedules.families.base import Family, Views
from deepcadence.schedules.families.inputs import Randn, draw
from deepcadence.schedules.families.midway import Inward, Midway, Outward, Road
from deepcadence.schedules.families.shallow import shallow
from deepcadence.schedules.families.skips import blocks_of
from deepcadence.schedules.families.stand_ins import Kept, Stored
from deepcadence.schedules.families.unet_inputs import TOKENS

_ARGUMENTS = ("x", "timesteps", "context", "y")


class CompVisViews(Views):
    """Views of such a U-Net: its own `forward` over fewer blocks."""

    def __init__(self, model: nn.Module, cuts: Iterable[int]) -> None:
        inputs, outputs = blocks_of(model, "input_blocks"), blocks_of(model, "output_blocks")
        middle, after = cast(nn.Module, model.middle_block), list(outputs)
        self._kept: dict[int, Kept] = {}
        self._stored = Stored()
        self._partial: dict[int, nn.Module] = {}
        for cut in cuts:
            before = len(outputs) - 2 - cut  # the output block in front of the cut; -1 is the middle
            self._kept[cut] = Kept(middle if before < 0 else outputs[before])
            if before < 0:
                middle = self._kept[cut]
            else:
                after[before] = self._kept[cut]
            self._partial[cut] = shallow(
                model,
                input_blocks=nn.ModuleList(inputs[: cut + 1]),
                middle_block=self._stored,
                output_blocks=nn.ModuleList(outputs[before + 1 :]),
            )
        self._full = shallow(model, middle_block=middle, output_blocks=nn.ModuleList(after))

    def full(self, *args: Any, **kwargs: Any) -> tuple[Any, dict[int, torch.Tensor]]:
        """See `Views.full`."""
        try:
            output = self._full.forward(*args, **kwargs)
            return output, {cut: cast(torch.Tensor, kept.feature) for cut, kept in self._kept.items()}
        finally:
            for kept in self._kept.values():
                kept.feature = None

    def partial(self, cut: int, feature: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """See `Views.partial`."""
        self._stored.feature = feature
        try:
            return self._partial[cut].forward(*args, **kwargs)
        finally:
            self._stored.feature = None


class Crossed(nn.Module):
    """A block behind which a cut is entered, or left."""

    def __init__(self, block: nn.Module, road: Road, *, enters: int | None = None, leaves: int | None = None) -> None:
        super().__init__()
        self.block, self.road, self.enters, self.leaves = block, road, enters, leaves

    def forward(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        output = cast(torch.Tensor, self.block(*args, **kwargs))
        if self.enters is not None:
            self.road.crossing.enter(self.enters, output)
        return output if self.leaves is None else self.road.crossing.leave(self.leaves, output)


class Turning(Crossed):
    """The middle block: after turning back it does not run, and the feature of the cut stands for its output."""

    def forward(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        if self.road.back_at is not None:
            return cast(torch.Tensor, self.road.crossing.feature)
        return super().forward(*args, **kwargs)


def _midway(model: nn.Module, cuts: Iterable[int]) -> Midway:
    road, known = Road(), set(cuts)
    inputs, outputs = blocks_of(model, "input_blocks"), blocks_of(model, "output_blocks")
    last = len(outputs) - 1
    middle = Turning(cast(nn.Module, model.middle_block), road, leaves=last if last in known else None)
    for cut in known:
        inputs[cut] = Crossed(inputs[cut], road, enters=cut)
        if cut < last:
            outputs[last - 1 - cut] = Crossed(outputs[last - 1 - cut], road, leaves=cut)
    network = shallow(
        model,
        input_blocks=Inward(inputs, road),
        middle_block=middle,
        output_blocks=Outward(outputs, road, {cut: last - cut for cut in known}),
    )
    return Midway(network, road)


class CompVisFamily(Family):
    """U-Nets with `input_blocks`, `middle_block` and `output_blocks`; with no `config`, so sizes are read off them."""

    name = "compvis"

    def refusal(self, model: nn.Module) -> str | None:
        """See `Family.refusal`."""
        missing = [name for name in ("input_blocks", "middle_block", "output_blocks") if not hasattr(model, name)]
        if missing:
            return f"it has no {', '.join(missing)}"
        made, consumed = len(blocks_of(model, "input_blocks")), len(blocks_of(model, "output_blocks"))
        if made != consumed:
            return f"it has {made} input_blocks and {consumed} output_blocks"
        unknown = [name for name in _named_parameters(type(model)) if name not in _ARGUMENTS]
        if unknown:  # such as the residuals of a ControlNet, which are consumed from the inside
            return f"its forward takes {', '.join(unknown)}, which the family does not know"
        return None

    def cuts(self, model: nn.Module) -> dict[int, str]:
        """See `Family.cuts`."""
        count = len(blocks_of(model, "output_blocks"))
        return {cut: f"output_blocks.{count - 1 - cut}" for cut in range(count)}

    def views(self, model: nn.Module, cuts: Iterable[int]) -> CompVisViews:
        """See `Family.views`."""
        return CompVisViews(model, cuts)

    def midway(self, model: nn.Module, cuts: Iterable[int]) -> Midway:
        """See `Family.midway`."""
        return _midway(model, cuts)

    def small_size(self, model: nn.Module) -> tuple[int, ...]:
        """See `Family.small_size`: 2x2 at the bottom."""
        levels = getattr(model, "channel_mult", None)
        return _configured_size(model) if levels is None else (2 ** len(levels), 2 ** len(levels))

    def state(self, model: nn.Module) -> Hashable:
        """See `Family.state`: which submodules there are."""
        blocks = (*blocks_of(model, "input_blocks"), *blocks_of(model, "output_blocks"))
        return tuple(map(id, (*model._modules.values(), *blocks)))

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
        weight = next(model.parameters())
        device = device or weight.device
        randn = draw(device, dtype or weight.dtype, generator)
        height, width = size or _configured_size(model)
        inputs: dict[str, Any] = {
            "x": randn(batch, _channels(model), height, width),
            "timesteps": torch.full((batch,), 500, device=device),
        }
        context = _context_width(model)
        if context is not None:
            inputs["context"] = randn(batch, TOKENS, context)
        return inputs | _labels(model, batch, device, randn)


def _named_parameters(model_class: type[nn.Module]) -> list[str]:
    parameters: Mapping[str, inspect.Parameter] = inspect.signature(model_class.forward).parameters
    named = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [name for name, one in list(parameters.items())[1:] if one.kind in named]


def _configured_size(model: nn.Module) -> tuple[int, int]:
    size = getattr(model, "image_size", None)
    if size is None:
        raise UnsupportedModelError(
            f"{type(model).__name__} has no image_size; say which size (height, width) is meant"
        )
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _channels(model: nn.Module) -> int:
    """Channels of the sample, from the first convolution."""
    first = next((part for part in model.modules() if isinstance(part, nn.Conv1d | nn.Conv2d | nn.Conv3d)), None)
    if not isinstance(first, nn.Conv2d):
        raise UnsupportedModelError(f"{type(model).__name__}: its first convolution is not one of images")
    return first.in_channels


def _context_width(model: nn.Module) -> int | None:
    """The width of the context that cross attention takes; None if there is none."""
    attentions = (getattr(part, "attn2", None) for part in model.modules())
    keys: Iterable[Any] = (getattr(attention, "to_k", None) for attention in attentions)
    return next((key.in_features for key in keys if hasattr(key, "in_features")), None)  # one of PEFT is no nn.Linear


def _labels(model: nn.Module, batch: int, device: torch.device | str, randn: Randn) -> dict[str, Any]:
    """Class labels, or the vectors that stand for them."""
    embedding = getattr(model, "label_emb", None)
    if embedding is None:
        return {}
    if isinstance(embedding, nn.Embedding):
        return {"y": torch.zeros(batch, dtype=torch.long, device=device)}
    return {"y": randn(batch, next(part.in_features for part in embedding.modules() if isinstance(part, nn.Linear)))}
