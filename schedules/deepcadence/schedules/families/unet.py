"""U-Nets of diffusers: `UNet2DModel`, `UNet2DConditionModel` and what is built like them.

Skips are numbered from the outside: 0 is the output of `conv_in`, then one for each down layer
and each downsampler. The up layers consume them from the last to the first. Cut b re-runs the
layers from the one that consumes skip b, and the feature is the tensor that enters that layer.
"""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import nn

from deepcadence.schedules.errors import UnsupportedModelError
from deepcadence.schedules.families.base import Family, Views
from deepcadence.schedules.families.shallow import refuse_hooks, shallow

_FREEU = ("s1", "s2", "b1", "b2")


class Position(NamedTuple):
    """A layer of the down or up path: index of its block, index in the block."""

    block: int
    layer: int


def _layers(block: nn.Module) -> int:
    return len(cast(nn.ModuleList, block.resnets))


def _blocks(model: nn.Module, path: str) -> list[nn.Module]:
    return list(cast(nn.ModuleList, getattr(model, path)))


def skip_sources(model: nn.Module) -> list[Position]:
    """Where each skip is made; a downsampler counts as the layer behind the last, `conv_in` as (-1, 0)."""
    sources = [Position(-1, 0)]
    for index, block in enumerate(_blocks(model, "down_blocks")):
        outputs = _layers(block) + len(getattr(block, "downsamplers", None) or ())
        sources += [Position(index, layer) for layer in range(outputs)]
    return sources


def skip_consumers(model: nn.Module) -> list[Position]:
    """The up layer that consumes each skip, from skip 0 on."""
    layers = [
        Position(index, layer)
        for index, block in enumerate(_blocks(model, "up_blocks"))
        for layer in range(_layers(block))
    ]
    return layers[::-1]


def segment(block: nn.Module, start: int, stop: int, *, ends: bool, name: str) -> nn.Module:
    """Layers `start` to `stop` of a block; `ends` keeps its down- or upsamplers."""
    if start == 0 and stop == _layers(block) and ends:
        return block
    refuse_hooks(block, name)
    replaced: dict[str, nn.Module | None] = {}
    for child, module in block._modules.items():
        if child in ("downsamplers", "upsamplers"):
            if not ends:
                replaced[child] = None
        elif isinstance(module, nn.ModuleList) and len(module) == _layers(block):
            replaced[child] = nn.ModuleList(list(module)[start:stop])
    return shallow(block, **replaced)


def writes_in_place(block: nn.Module) -> bool:
    """Whether the block overwrites its input, as FreeU does."""
    return all(getattr(block, name, None) for name in _FREEU)


class Tap(nn.Module):
    """Keeps what enters an up block, and runs it."""

    def __init__(self, block: nn.Module, cut: int) -> None:
        super().__init__()
        self.block, self.cut = block, cut
        self.resnets = block.resnets
        self.has_cross_attention = getattr(block, "has_cross_attention", False)
        self.feature: torch.Tensor | None = None

    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        self.feature = hidden_states.clone() if writes_in_place(self.block) else hidden_states
        return self.block(hidden_states, *args, **kwargs)


class Stored(nn.Module):
    """Stands for everything inside the cut: returns the feature whatever it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.feature: torch.Tensor | None = None

    def forward(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        return cast(torch.Tensor, self.feature)


class PartialView(NamedTuple):
    """The network outside one cut."""

    model: nn.Module
    stored: Stored
    copies_feature: bool
    intrablock_residuals: int


class UNetViews(Views):
    """Views of a U-Net: its own `forward` over other block lists."""

    def __init__(self, model: nn.Module, cuts: Iterable[int]) -> None:
        self._names = _parameter_names(type(model))
        self._full = _full_view(model, sorted(cuts))
        self._taps = [block for block in _blocks(self._full, "up_blocks") if isinstance(block, Tap)]
        self._partial = {cut: _partial_view(model, cut) for cut in cuts}

    def full(self, *args: Any, **kwargs: Any) -> tuple[Any, dict[int, torch.Tensor]]:
        """See `Views.full`."""
        try:
            output = self._full.forward(*args, **kwargs)
            return output, {tap.cut: cast(torch.Tensor, tap.feature) for tap in self._taps}
        finally:
            for tap in self._taps:
                tap.feature = None

    def partial(self, cut: int, feature: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """See `Views.partial`."""
        view = self._partial[cut]
        kwargs = _partial_residuals({**dict(zip(self._names, args, strict=False)), **kwargs}, view)
        view.stored.feature = feature.clone() if view.copies_feature else feature
        try:
            return view.model.forward(**kwargs)
        finally:
            view.stored.feature = None


def _parameter_names(model_class: type[nn.Module]) -> tuple[str, ...]:
    return tuple(inspect.signature(model_class.forward).parameters)[1:]


def _full_view(model: nn.Module, cuts: Sequence[int]) -> nn.Module:
    """The whole network, with a tap at each cut."""
    taps = {position: cut for cut, position in enumerate(skip_consumers(model)) if cut in cuts}
    up_blocks: list[nn.Module] = []
    for index, block in enumerate(_blocks(model, "up_blocks")):
        starts = sorted({0, *(position.layer for position in taps if position.block == index)})
        for start, stop in zip(starts, [*starts[1:], _layers(block)], strict=True):
            part = segment(block, start, stop, ends=stop == _layers(block), name=f"up_blocks.{index}")
            cut = taps.get(Position(index, start))
            up_blocks.append(part if cut is None else Tap(part, cut))
    return shallow(model, up_blocks=nn.ModuleList(up_blocks))


def _partial_view(model: nn.Module, cut: int) -> PartialView:
    """The network outside `cut`: down to skip `cut`, the stored feature, up from its consumer."""
    source, consumer = skip_sources(model)[cut], skip_consumers(model)[cut]
    down, up = _blocks(model, "down_blocks"), _blocks(model, "up_blocks")
    down_blocks = down[: max(source.block, 0)]
    residuals = len(down_blocks)
    if source.block >= 0:
        last = down[source.block]
        layers = _layers(last)
        whole = source.layer >= layers or (source.layer == layers - 1 and not getattr(last, "downsamplers", None))
        part = segment(last, 0, min(source.layer + 1, layers), ends=whole, name=f"down_blocks.{source.block}")
        down_blocks.append(part)
        # An adapter's residual belongs to the block's last layer, or to its output.
        ends_with_last_layer = getattr(last, "has_cross_attention", False) and source.layer >= layers - 1
        residuals += int(whole or ends_with_last_layer)
    first = up[consumer.block]
    part = segment(first, consumer.layer, _layers(first), ends=True, name=f"up_blocks.{consumer.block}")
    stored = Stored()
    view = shallow(
        model,
        down_blocks=nn.ModuleList(down_blocks),
        mid_block=stored,
        up_blocks=nn.ModuleList([part, *up[consumer.block + 1 :]]),
    )
    return PartialView(view, stored, writes_in_place(first), residuals)


def _partial_residuals(kwargs: dict[str, Any], view: PartialView) -> dict[str, Any]:
    """Residuals for a partial call: those of ControlNet for the skips that run, of an adapter for its blocks.

    The mid residual is in the feature already. diffusers zips the down residuals with the skips
    that exist, so the surplus needs no care; adapters' residuals are consumed block by block.
    """
    mid, down = kwargs.get("mid_block_additional_residual"), kwargs.get("down_block_additional_residuals")
    intrablock = kwargs.get("down_intrablock_additional_residuals")
    if mid is not None:
        kwargs["mid_block_additional_residual"] = torch.zeros_like(mid[:1, :1, :1, :1])
    elif down is not None and intrablock is None:  # the deprecated way to pass an adapter's residuals
        kwargs["down_block_additional_residuals"], intrablock = None, down
    if intrablock is not None:
        kwargs["down_intrablock_additional_residuals"] = list(intrablock)[: view.intrablock_residuals]
    return kwargs


class UNetFamily(Family):
    """U-Nets with `conv_in`, `down_blocks`, `mid_block` and `up_blocks`, one skip a layer."""

    name = "unet"

    def refusal(self, model: nn.Module) -> str | None:
        """See `Family.refusal`."""
        missing = [name for name in ("conv_in", "down_blocks", "up_blocks", "conv_out") if not hasattr(model, name)]
        if missing:
            return f"it has no {', '.join(missing)}"
        names = _parameter_names(type(model))
        if names[:2] != ("sample", "timestep") or hasattr(model, "transformer_in") or "num_frames" in names:
            return "its forward is not that of a 2D U-Net (sample, timestep, ...)"
        for path in ("down_blocks", "up_blocks"):
            for index, block in enumerate(_blocks(model, path)):
                if hasattr(block, "skip_conv"):
                    return f"{path}.{index} is a {type(block).__name__}: its second, image-sized skip path has no cut"
                if not isinstance(getattr(block, "resnets", None), nn.ModuleList) or not _layers(block):
                    return f"{path}.{index} is a {type(block).__name__} without resnets"
                if hasattr(block, "motion_modules") or hasattr(block, "temp_convs"):
                    return f"{path}.{index} is a {type(block).__name__}: layers over time have no cut yet"
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

    def small_size(self, model: nn.Module) -> tuple[int, int]:
        """See `Family.small_size`: 2x2 at the bottom, since a norm needs more than one value per group."""
        halvings = sum(bool(getattr(block, "downsamplers", None)) for block in _blocks(model, "down_blocks"))
        return 2 ** (halvings + 1), 2 ** (halvings + 1)

    def state(self, model: nn.Module) -> Hashable:
        """See `Family.state`: which submodules there are, and FreeU."""
        up_blocks = _blocks(model, "up_blocks")
        return (
            tuple(map(id, model._modules.values())),
            tuple(map(id, _blocks(model, "down_blocks"))),
            tuple((id(block), *map(block.__dict__.get, _FREEU)) for block in up_blocks),
        )

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
        config = cast(Mapping[str, Any], model.config)
        weight = cast(torch.Tensor, cast(nn.Module, model.conv_in).weight)
        device, dtype = device or weight.device, dtype or getattr(model, "dtype", weight.dtype)

        def randn(*shape: int) -> torch.Tensor:
            # Drawn on the CPU, so that a seed means the same everywhere; nothing is drawn for the meta device.
            if torch.device(device).type == "meta":
                return torch.empty(shape, device=device, dtype=dtype)
            return torch.randn(shape, generator=generator).to(device, dtype)

        height, width = size or _configured_size(config)
        inputs: dict[str, Any] = {
            "sample": randn(batch, config["in_channels"], height, width),
            "timestep": torch.full((batch,), 500, device=device),
        }
        if "encoder_hidden_states" in _parameter_names(type(model)):
            inputs |= _text_inputs(model, config, batch, randn)
        inputs |= _class_inputs(model, config, batch, device, randn)
        return inputs


def _configured_size(config: Mapping[str, Any]) -> tuple[int, int]:
    size = config.get("sample_size")
    if size is None:
        raise UnsupportedModelError("the model's config has no sample_size; say which size (height, width) is meant")
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _class_inputs(
    model: nn.Module, config: Mapping[str, Any], batch: int, device: torch.device | str, randn: Any
) -> dict[str, Any]:
    """Class labels where the model embeds them."""
    if getattr(model, "class_embedding", None) is None:
        return {}
    if config.get("num_class_embeds") is not None or config.get("class_embed_type") in (None, "timestep"):
        return {"class_labels": torch.zeros(batch, dtype=torch.long, device=device)}
    width = config.get("projection_class_embeddings_input_dim") or cast(int, config["block_out_channels"][0]) * 4
    return {"class_labels": randn(batch, width)}


def _text_inputs(model: nn.Module, config: Mapping[str, Any], batch: int, randn: Any) -> dict[str, Any]:
    """77 text tokens, and the added conditions of SDXL or IP-Adapter-like models."""
    projection = getattr(config, "encoder_hid_dim_type", None)  # an IP-Adapter sets the attribute, not the entry
    if projection not in (None, "text_proj"):
        raise UnsupportedModelError(
            f"{type(model).__name__} with encoder_hid_dim_type={projection!r}: "
            "only 'text_proj' is known; attach before an IP-Adapter is loaded"
        )
    width = config.get("encoder_hid_dim") or config["cross_attention_dim"]
    width = width if isinstance(width, int) else width[0]
    inputs: dict[str, Any] = {"encoder_hidden_states": randn(batch, 77, width)}
    kind = config.get("addition_embed_type")
    if kind == "text_time":
        ids = config["addition_time_embed_dim"]
        pooled = config["projection_class_embeddings_input_dim"] - 6 * ids
        inputs["added_cond_kwargs"] = {"text_embeds": randn(batch, pooled), "time_ids": randn(batch, 6)}
    elif kind is not None and kind != "text":
        raise UnsupportedModelError(
            f"{type(model).__name__} with addition_embed_type={kind!r}: only 'text' and 'text_time' (SDXL) are known"
        )
    return inputs
