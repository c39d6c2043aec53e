"""The pipelines of the runtime's campaign: small models of every family, with random arguments and samplers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import diffusers
from PIL import Image

from tests import tiny

Arguments = dict[str, Any]

DIFFUSION = (
    "DDIMScheduler",
    "DDPMScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LCMScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "UniPCMultistepScheduler",
)
FEW = ("DDIMScheduler", "DDPMScheduler", "DPMSolverMultistepScheduler")
CALM = (
    "DDIMScheduler",
    "DPMSolverMultistepScheduler",
    "UniPCMultistepScheduler",
)  # for pipelines that give no generator
FLOW = ("FlowMatchEulerDiscreteScheduler",)
PICTURE = Image.linear_gradient("L").resize((16, 16)).convert("RGB")


@dataclass(frozen=True)
class Kind:
    """A pipeline with what it may be called with.

    Without `samplers` it keeps the scheduler that it is made with; `sides` are the calls of its denoiser in a step.
    """

    make: Callable[[], Any]
    arguments: Callable[[Random], Arguments]
    samplers: tuple[str, ...] = ()
    sides: int = 1

    def pipeline(self, prototype: Any, sampler: str | None) -> Any:
        """A pipeline of its own around the models of `prototype`, with a scheduler of its own.

        And with tokenizers of its own: those of transformers keep their padding, and two threads that share one get
        each other's.
        """
        pipe = copy.copy(prototype)
        for name in [name for name in vars(pipe) if name.startswith("tokenizer")]:
            setattr(pipe, name, copy.deepcopy(getattr(pipe, name)))
        scheduler = prototype.scheduler
        pipe.scheduler = (getattr(diffusers, sampler) if sampler else type(scheduler)).from_config(scheduler.config)
        return pipe


def size(rng: Random, sides: Sequence[int]) -> Arguments:
    """Height and width in pixels."""
    return {"height": rng.choice(sides), "width": rng.choice(sides)}


def prompts(rng: Random) -> Arguments:
    """One to three prompts, with or without guidance."""
    guidance = {"guidance_scale": 1.0} if rng.random() < 0.3 else {}
    return {"prompt": ["a coat", "a shoe", "a bag"][: rng.randint(1, 3)], **guidance}


def text(rng: Random, *names: str) -> Arguments:
    """Embeddings of one or two prompts."""
    return dict(tiny.text(*names, batch=rng.randint(1, 2), seed=rng.randint(0, 9)))


POOLED = (*tiny.POOLED, *(f"negative_{name}" for name in tiny.POOLED))
UNBINNED: Arguments = {"negative_prompt": None, "use_resolution_binning": False}

KINDS: dict[str, Kind] = {
    "DDIM": Kind(tiny.ddim_pipeline, lambda rng: {"batch_size": rng.randint(1, 3)}),
    "DDPM": Kind(tiny.ddpm_pipeline, lambda rng: {"batch_size": rng.randint(1, 3)}, FEW),
    "LDM": Kind(tiny.ldm_pipeline, lambda rng: {"batch_size": rng.randint(1, 3)}, CALM),
    "SD": Kind(tiny.sd_pipeline, lambda rng: {**prompts(rng), **size(rng, (16, 24, 40))}, DIFFUSION),
    "SD img2img": Kind(
        tiny.sd_img2img_pipeline,
        lambda rng: {"prompt": "a coat", "image": PICTURE, "strength": rng.choice((0.5, 0.75, 1.0))},
        FEW,
    ),
    "SD inpaint": Kind(
        tiny.sd_inpaint_pipeline,
        lambda rng: {"prompt": "a coat", "image": PICTURE, "mask_image": PICTURE, "height": 16, "width": 16},
        FEW,
    ),
    "SDXL": Kind(tiny.sdxl_pipeline, lambda rng: {**prompts(rng), **size(rng, (16, 24))}, DIFFUSION),
    "SVD": Kind(tiny.svd_pipeline, lambda rng: {"image": PICTURE, "height": 16, "width": 16, "num_frames": 3}),
    "AnimateDiff": Kind(tiny.animatediff_pipeline, lambda rng: {**prompts(rng), "num_frames": rng.randint(1, 3)}),
    "text to video": Kind(tiny.text_to_video_pipeline, lambda rng: {**prompts(rng), "num_frames": rng.randint(1, 3)}),
    "DiT": Kind(
        tiny.dit_pipeline,
        lambda rng: {"class_labels": [1, 2, 3][: rng.randint(1, 3)], "guidance_scale": rng.choice((1.0, 4.0))},
        CALM,
    ),
    "PixArt": Kind(tiny.pixart_pipeline, lambda rng: {**size(rng, (16, 32)), **text(rng, *tiny.MASKED), **UNBINNED}),
    "SD3": Kind(tiny.sd3_pipeline, lambda rng: {**size(rng, (16, 32)), **text(rng, *POOLED)}, FLOW),
    "Flux": Kind(tiny.flux_pipeline, lambda rng: {**size(rng, (16, 24, 40)), **text(rng, *tiny.POOLED)}, FLOW),
    "Flux, two sides": Kind(
        tiny.flux_pipeline,
        lambda rng: {**size(rng, (16, 24)), **text(rng, *POOLED), "true_cfg_scale": 3.0},
        FLOW,
        sides=2,
    ),
    "Sana": Kind(tiny.sana_pipeline, lambda rng: {"height": 32, "width": 32, **text(rng, *tiny.MASKED), **UNBINNED}),
    "Wan": Kind(
        tiny.wan_pipeline,
        lambda rng: {**size(rng, (32,)), "num_frames": 5, **text(rng, "prompt_embeds"), "guidance_scale": 1.0},
    ),
    "Wan, two sides": Kind(
        tiny.wan_pipeline,
        lambda rng: {**size(rng, (32,)), "num_frames": 5, **text(rng, "prompt_embeds", "negative_prompt_embeds")},
        sides=2,
    ),
}
