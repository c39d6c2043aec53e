"""Random inputs for transformers, from their configuration and the arguments that their forward takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from deepcadence.schedules.families.inputs import Randn, draw, parameter_names

# Flux takes latents in patches of this many by as many, as tokens.
_PACKED_SIDE = 2
_IMAGE_TOKENS = 257
# What the models' pipelines have by default: tokens of text, and the size where a config says none (1024x1024 pixels;
# 81 frames of 480x832).
_FLUX_TOKENS, _SD3_TOKENS, _CAPTION_TOKENS, _VIDEO_TOKENS = 512, 77 + 256, 300, 512
_FLUX_SIZE, _VIDEO_SIZE = (128, 128), (21, 60, 104)


def _config(model: nn.Module) -> Mapping[str, Any]:
    return cast(Mapping[str, Any], model.config)


def is_packed(model: nn.Module) -> bool:
    """Whether the model takes patches as tokens, with their places beside them, and not a picture."""
    return "img_ids" in parameter_names(model)


def patch_sides(model: nn.Module) -> tuple[int, ...]:
    """(height, width) of a patch, of a video (frames, height, width)."""
    if is_packed(model):
        return _PACKED_SIDE, _PACKED_SIDE
    side = _config(model)["patch_size"]
    return (side, side) if isinstance(side, int) else tuple(side)


def text_tokens(model: nn.Module) -> int:
    """Tokens of text in a call, as the model's pipeline has it without being told."""
    if is_packed(model):
        return _FLUX_TOKENS
    if len(patch_sides(model)) == 3:
        return _VIDEO_TOKENS
    return _SD3_TOKENS if "joint_attention_dim" in _config(model) else _CAPTION_TOKENS


@dataclass(frozen=True)
class _Maker:
    """Makes tensors of one batch."""

    model: nn.Module
    batch: int
    device: torch.device | str
    dtype: torch.dtype
    randn: Randn

    def full(self, value: float) -> torch.Tensor:
        return torch.full((self.batch,), value, device=self.device, dtype=self.dtype)


def example_inputs(
    model: nn.Module,
    *,
    batch: int = 1,
    size: tuple[int, ...] | None = None,
    text: int | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    generator: torch.Generator | None = None,
) -> dict[str, Any]:
    """See `Family.example_inputs`.

    `size` is (height, width) of the latents, of a video (frames, height, width), and for a model of tokens (tokens,) as
    well; `text` is the number of text tokens, None for what the model's pipeline has.
    """
    device, dtype = device or cast(torch.device, model.device), dtype or cast(torch.dtype, model.dtype)
    make, config, names = (
        _Maker(model, batch, device, dtype, draw(device, dtype, generator)),
        _config(model),
        parameter_names(model),
    )
    inputs = _sample(make, size or _configured_size(model))
    inputs["timestep"] = make.full(0.5) if is_packed(model) else torch.full((batch,), 500, device=device)
    tokens = text or text_tokens(model)
    if "encoder_hidden_states" in names:
        width = next(config[key] for key in ("joint_attention_dim", "caption_channels", "text_dim") if key in config)
        inputs["encoder_hidden_states"] = make.randn(batch, tokens, width)
    if "txt_ids" in names:
        inputs["txt_ids"] = torch.zeros(tokens, 3, device=device, dtype=dtype)
    if "pooled_projections" in names:
        inputs["pooled_projections"] = make.randn(batch, config["pooled_projection_dim"])
    if "class_labels" in names:
        inputs["class_labels"] = torch.zeros(batch, dtype=torch.long, device=device)
    if config.get("guidance_embeds"):
        inputs["guidance"] = make.full(3.5)
    return inputs | _resolutions(make) | _pictures(make)


def _configured_size(model: nn.Module) -> tuple[int, ...]:
    size = _config(model).get("sample_size")
    if size is None:
        return _FLUX_SIZE if is_packed(model) else _VIDEO_SIZE
    return (size, size) if isinstance(size, int) else tuple(size)


def _sample(make: _Maker, size: tuple[int, ...]) -> dict[str, Any]:
    """Latents; where the model takes them as tokens, with the place of each."""
    channels = _config(make.model)["in_channels"]
    if not is_packed(make.model):
        return {"hidden_states": make.randn(make.batch, channels, *size)}
    rows, columns = (1, *size) if len(size) == 1 else (side // _PACKED_SIDE for side in size)
    places = torch.zeros(rows, columns, 3, device=make.device, dtype=make.dtype)
    places[..., 1] += torch.arange(rows, device=make.device)[:, None]
    places[..., 2] += torch.arange(columns, device=make.device)[None, :]
    return {
        "hidden_states": make.randn(make.batch, rows * columns, channels),
        "img_ids": places.flatten(0, 1),
    }


def _resolutions(make: _Maker) -> dict[str, Any]:
    """What PixArt is told about the size of the picture."""
    if "added_cond_kwargs" not in parameter_names(make.model):
        return {}
    told = getattr(make.model, "use_additional_conditions", False)
    width = {"resolution": 2, "aspect_ratio": 1}
    return {"added_cond_kwargs": {key: make.randn(make.batch, width[key]) if told else None for key in width}}


def _pictures(make: _Maker) -> dict[str, Any]:
    """Embeddings of pictures: Wan's first frame, or those of IP-Adapters."""
    config, kwargs = _config(make.model), "joint_attention_kwargs"
    if config.get("image_dim") is not None:
        pictures = 2 if config.get("pos_embed_seq_len") is not None else 1
        return {"encoder_hidden_states_image": make.randn(pictures * make.batch, _IMAGE_TOKENS, config["image_dim"])}
    adapters = getattr(getattr(make.model, "encoder_hid_proj", None), "image_projection_layers", None)
    if adapters is not None:
        widths = [cast(Any, adapter).image_embeds.in_features for adapter in adapters]
        return {kwargs: {"ip_adapter_image_embeds": [make.randn(make.batch, 1, width) for width in widths]}}
    projection = getattr(make.model, "image_proj", None)
    if projection is not None:
        width = cast(Any, projection).proj_in.in_features
        return {kwargs: {"ip_adapter_image_embeds": make.randn(make.batch, _IMAGE_TOKENS, width)}}
    return {}
