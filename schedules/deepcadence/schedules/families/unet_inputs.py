"""Inputs for a U-Net of diffusers, made from its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import nn

from deepcadence.schedules.errors import UnsupportedModelError
from deepcadence.schedules.families.inputs import Randn, parameter_names
from deepcadence.schedules.families.skips import blocks_of

TOKENS = 77  # of a CLIP text encoder
IMAGE_TOKENS = 257  # of a CLIP image encoder, for IP-Adapters that take all of them
FRAMES = 16  # what the pipelines of AnimateDiff and of text to video make if not told otherwise


def frames_axis(model: nn.Module) -> int | None:
    """Where a sample has its frames: 1 for (batch, frames, channels, ...), 2 for (batch, channels, frames, ...)."""
    if "added_time_ids" in parameter_names(model):  # Stable Video Diffusion
        return 1
    over_time = any(hasattr(block, "temp_convs") or _has_motion(block) for block in blocks_of(model, "down_blocks"))
    return 2 if over_time else None


def _has_motion(block: nn.Module) -> bool:
    return hasattr(block, "motion_modules")


def sample_shape(model: nn.Module, size: tuple[int, ...] | None) -> tuple[int, ...]:
    """The shape of one sample of `size`: (channels, height, width), for a video with its frames where they belong.

    Raises:
        UnsupportedModelError: no size is given, and the configuration has none.
    """
    config = cast(Mapping[str, Any], model.config)
    axis, channels = frames_axis(model), cast(int, config["in_channels"])
    *frames, height, width = size or _configured_size(config)
    if axis is None:
        return channels, height, width
    count = frames[0] if frames else config.get("num_frames") or FRAMES
    return (count, channels, height, width) if axis == 1 else (channels, count, height, width)


def _configured_size(config: Mapping[str, Any]) -> tuple[int, int]:
    size = config.get("sample_size")
    if size is None:
        raise UnsupportedModelError("the model's config has no sample_size; say which size (height, width) is meant")
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def class_inputs(model: nn.Module, batch: int, device: torch.device | str, randn: Randn) -> dict[str, Any]:
    """Class labels where the model embeds them."""
    config = cast(Mapping[str, Any], model.config)
    if getattr(model, "class_embedding", None) is None:
        return {}
    if config.get("num_class_embeds") is not None or config.get("class_embed_type") in (None, "timestep"):
        return {"class_labels": torch.zeros(batch, dtype=torch.long, device=device)}
    width = config.get("projection_class_embeddings_input_dim") or cast(int, config["block_out_channels"][0]) * 4
    return {"class_labels": randn(batch, width)}


def image_conditions(model: nn.Module, batch: int, randn: Randn) -> dict[str, Any]:
    """What Stable Video Diffusion is conditioned on: the embedding of one image, and a few numbers such as fps."""
    config = cast(Mapping[str, Any], model.config)
    numbers = config["projection_class_embeddings_input_dim"] // config["addition_time_embed_dim"]
    width = _first(config["cross_attention_dim"])
    return {"encoder_hidden_states": randn(batch, 1, width), "added_time_ids": randn(batch, numbers)}


def text_conditions(model: nn.Module, batch: int, frames: int, randn: Randn) -> dict[str, Any]:
    """Text tokens, and the added conditions of SDXL and of IP-Adapters."""
    config = cast(Mapping[str, Any], model.config)
    kind = config.get("addition_embed_type")
    if kind not in (None, "text", "text_time"):
        raise UnsupportedModelError(
            f"{type(model).__name__} with addition_embed_type={kind!r}: only 'text' and 'text_time' (SDXL) are known"
        )
    # A motion U-Net takes the text of each frame; others repeat it themselves.
    repeated = any(_has_motion(block) for block in blocks_of(model, "down_blocks"))
    width = config.get("encoder_hid_dim") or _first(config["cross_attention_dim"])
    inputs: dict[str, Any] = {"encoder_hidden_states": randn(batch * (frames if repeated else 1), TOKENS, width)}
    added = _adapter_images(model, batch, randn)
    if kind == "text_time":
        ids = config["addition_time_embed_dim"]
        pooled = config["projection_class_embeddings_input_dim"] - 6 * ids
        added |= {"text_embeds": randn(batch, pooled), "time_ids": randn(batch, 6)}
    return inputs | ({"added_cond_kwargs": added} if added else {})


def _adapter_images(model: nn.Module, batch: int, randn: Randn) -> dict[str, Any]:
    """One image for each IP-Adapter, as its projection takes it."""
    # An IP-Adapter sets the attribute of the configuration, not the entry.
    projection = getattr(model.config, "encoder_hid_dim_type", None)
    if projection in (None, "text_proj"):
        return {}
    layers = getattr(getattr(model, "encoder_hid_proj", None), "image_projection_layers", None)
    if projection != "ip_image_proj" or layers is None:
        raise UnsupportedModelError(
            f"{type(model).__name__} with encoder_hid_dim_type={projection!r}: "
            "only 'text_proj' and IP-Adapters are known"
        )
    return {"image_embeds": [_adapter_image(layer, batch, randn) for layer in layers]}


def _adapter_image(layer: nn.Module, batch: int, randn: Randn) -> torch.Tensor:
    if hasattr(layer, "clip_embeds"):
        raise UnsupportedModelError(
            f"an IP-Adapter with {type(layer).__name__} keeps embeddings for one batch size; it cannot be tested here"
        )
    width = next(part.in_features for part in layer.modules() if isinstance(part, nn.Linear))
    pooled = hasattr(layer, "image_embeds") or hasattr(layer, "num_tokens")
    return randn(batch, 1, width) if pooled else randn(batch, 1, IMAGE_TOKENS, width)


def _first(width: Any) -> int:
    return cast(int, width if isinstance(width, int) else width[0])
