"""The models that caches are compared on: real pipelines with random weights, which return latents."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from diffusers import StableDiffusionImg2ImgPipeline

from tests import tiny


class Model(ABC):
    """One pipeline, made anew with the same weights at each `build`."""

    name: ClassVar[str]
    sides: ClassVar[int] = 1  # calls a step
    overrides: ClassVar[dict[str, Any]]
    side: ClassVar[int]  # of a picture, in pixels

    def __init__(self, *, tiny: bool) -> None:
        self.tiny = tiny

    @abstractmethod
    def build(self) -> Any:
        """A fresh pipeline."""

    @abstractmethod
    def arguments(self, batch: int) -> dict[str, Any]:
        """What a call of the pipeline takes besides steps and generator."""

    def size(self) -> dict[str, int]:
        """Height and width."""
        side = 32 if self.tiny else self.side
        return {"height": side, "width": side}

    def run(self, pipe: Any, steps: int, batch: int = 1, **more: Any) -> torch.Tensor:
        """The latents of one run, always of the same noise."""
        call = self.arguments(batch) | {"num_inference_steps": steps, "output_type": "latent", "return_dict": False}
        latents: torch.Tensor = pipe(**(call | {"generator": torch.Generator().manual_seed(0)} | more))[0]
        return latents


class UNet(Model):
    """Stable Diffusion in small: three levels, two layers a block."""

    name = "unet"
    side = 64
    overrides: ClassVar[dict[str, Any]] = {
        "block_out_channels": (64, 128, 256),
        "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        "attention_head_dim": 8,
    }

    def build(self) -> Any:
        return tiny.sd_pipeline(**({} if self.tiny else self.overrides))

    def arguments(self, batch: int) -> dict[str, Any]:
        return {"prompt": ["a coat", "a shoe"][:batch], **self.size()}

    def to_img2img(self, pipe: Any) -> Any:
        """A pipeline around the same parts that starts from a picture."""
        parts = {**pipe.components, "requires_safety_checker": False}
        parts.pop("image_encoder", None)
        return tiny.quiet(StableDiffusionImg2ImgPipeline(**parts))


class Flux(Model):
    """Flux in small: blocks of two streams, then blocks of one."""

    name = "flux"
    side = 64
    overrides: ClassVar[dict[str, Any]] = {
        "num_layers": 6,
        "num_single_layers": 12,
        "num_attention_heads": 8,
        "attention_head_dim": 32,
        "axes_dims_rope": (8, 12, 12),
    }

    def build(self) -> Any:
        return tiny.flux_pipeline(**({} if self.tiny else self.overrides))

    def arguments(self, batch: int) -> dict[str, Any]:
        return {**tiny.text(*tiny.POOLED, batch=batch), **self.size()}


class Wan(Model):
    """Wan in small: a video, and a call for each side of the guidance."""

    name = "wan"
    sides = 2
    side = 256
    overrides: ClassVar[dict[str, Any]] = {
        "num_layers": 12,
        "num_attention_heads": 8,
        "attention_head_dim": 24,
        "ffn_dim": 512,
    }

    def build(self) -> Any:
        return tiny.wan_pipeline(**({} if self.tiny else self.overrides))

    def arguments(self, batch: int) -> dict[str, Any]:
        return {**tiny.text("prompt_embeds", "negative_prompt_embeds", batch=batch), **self.size(), "num_frames": 5}


MODELS: dict[str, type[Model]] = {model.name: model for model in (UNet, Flux, Wan)}
