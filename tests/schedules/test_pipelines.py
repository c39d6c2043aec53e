"""The runtime on the pipelines and samplers that people use, against explicit full and partial calls."""

from __future__ import annotations

import itertools
from typing import Any

import diffusers
import pytest
import torch
from PIL import Image

from deepcadence.schedules import cached, denoiser, uniform
from tests import tiny
from tests.schedules.test_runtime import Oracle

SAMPLERS = [
    "DDIMScheduler",
    "DDPMScheduler",
    "DPMSolverMultistepScheduler",
    "UniPCMultistepScheduler",
    "HeunDiscreteScheduler",
    "PNDMScheduler",
    "EulerAncestralDiscreteScheduler",
    "LCMScheduler",
]
PICTURE = Image.linear_gradient("L").resize((16, 16)).convert("RGB")
SMALL, LARGER = {"height": 16, "width": 16}, {"height": 32, "width": 32}
UNBINNED = {"negative_prompt": None, "use_resolution_binning": False}
NEGATIVE_POOLED = tuple(f"negative_{name}" for name in tiny.POOLED)
PIPELINES: dict[str, tuple[Any, dict[str, Any]]] = {
    "DDIM": (tiny.ddim_pipeline, {"batch_size": 2}),
    "DDPM": (tiny.ddpm_pipeline, {"batch_size": 2}),
    "LDM": (tiny.ldm_pipeline, {"batch_size": 2}),
    "SD": (tiny.sd_pipeline, {"prompt": ["a coat", "a shoe"]}),
    "SD no guidance": (tiny.sd_pipeline, {"prompt": ["a coat", "a shoe"], "guidance_scale": 1.0}),
    "SD odd size": (tiny.sd_pipeline, {"prompt": "a coat", "height": 24, "width": 40}),
    "SD img2img": (tiny.sd_img2img_pipeline, {"prompt": "a coat", "image": PICTURE, "strength": 0.5}),
    "SD inpaint": (
        tiny.sd_inpaint_pipeline,
        {"prompt": "a coat", "image": PICTURE, "mask_image": PICTURE, "height": 16, "width": 16},
    ),
    "SDXL": (tiny.sdxl_pipeline, {"prompt": ["a coat", "a shoe"]}),
    "DiT": (tiny.dit_pipeline, {"class_labels": [1, 2]}),
    "DiT no guidance": (tiny.dit_pipeline, {"class_labels": [1, 2], "guidance_scale": 1.0}),
    "PixArt": (
        tiny.pixart_pipeline,
        {**SMALL, **tiny.text(*tiny.MASKED), **UNBINNED},
    ),
    "SD3": (tiny.sd3_pipeline, {**SMALL, **tiny.text(*tiny.POOLED, *NEGATIVE_POOLED)}),
    "Flux": (tiny.flux_pipeline, {**SMALL, **tiny.text(*tiny.POOLED)}),
    "Flux oblong": (tiny.flux_pipeline, {"height": 24, "width": 40, **tiny.text(*tiny.POOLED)}),
    "Flux true guidance": (
        tiny.flux_pipeline,
        {**SMALL, **tiny.text(*tiny.POOLED, *NEGATIVE_POOLED), "true_cfg_scale": 3.0},
    ),
    "Sana": (
        tiny.sana_pipeline,
        {
            "height": 32,
            "width": 32,
            **tiny.text(*tiny.MASKED),
            "negative_prompt": None,
            "use_resolution_binning": False,
        },
    ),
    "Wan": (
        tiny.wan_pipeline,
        {**LARGER, "num_frames": 5, **tiny.text("prompt_embeds", "negative_prompt_embeds")},
    ),
    "Wan no guidance": (
        tiny.wan_pipeline,
        {**LARGER, "num_frames": 5, **tiny.text("prompt_embeds"), "guidance_scale": 1.0},
    ),
}
# They call the denoiser once for each side of the guidance, one after the other.
TWO_SIDES = ("Flux true guidance", "Wan")
TRANSFORMERS = ("DiT", "PixArt", "SD3", "Flux", "Sana", "Wan")
CUTS = [(name, cut) for name in PIPELINES for cut in range(3 if name.startswith(TRANSFORMERS) else 6)]


class Alternating:
    """Answers the calls of the sides of the guidance in turn."""

    def __init__(self, oracles: list[Oracle]) -> None:
        self.turns = itertools.cycle(oracles)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return next(self.turns)(*args, **kwargs)


VIDEOS: dict[str, tuple[Any, dict[str, Any]]] = {
    "SVD": (tiny.svd_pipeline, {"image": PICTURE, "height": 16, "width": 16, "num_frames": 3}),
    "AnimateDiff": (tiny.animatediff_pipeline, {"prompt": ["a coat", "a shoe"], "num_frames": 3}),
    "text to video": (tiny.text_to_video_pipeline, {"prompt": ["a coat", "a shoe"], "num_frames": 3}),
}


def run(pipe: Any, **arguments: Any) -> torch.Tensor:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    output = pipe(**arguments, generator=generator, num_inference_steps=6, output_type="np")
    return torch.from_numpy(output.frames if hasattr(output, "frames") else output.images)


def count_calls(pipe: Any, **arguments: Any) -> tuple[int, torch.Tensor]:
    calls: list[int] = []
    handle = denoiser(pipe).register_forward_hook(lambda *_: calls.append(1))
    images = run(pipe, **arguments)
    handle.remove()
    return len(calls), images


def check(pipe: Any, arguments: dict[str, Any], cut: int, sides: int = 1) -> None:
    made, plain = count_calls(pipe, **arguments)
    calls, model = made // sides, denoiser(pipe)
    with cached(pipe, uniform(calls, 1, cut)):
        assert torch.equal(run(pipe, **arguments), plain)
    schedule = uniform(calls, 2, cut)
    model.forward = Alternating([Oracle(model, schedule) for _ in range(sides)])
    expected = run(pipe, **arguments)
    del model.forward
    assert not torch.equal(expected, plain)
    with cached(pipe, schedule) as attached:
        assert torch.equal(run(pipe, **arguments), expected)
    assert attached.stats.calls == made
    assert attached.stats.partial == sides * (calls // 2)
    assert attached.stats.forced == ()


@pytest.mark.parametrize(("name", "cut"), CUTS)
def test_every_pipeline_at_every_cut(name: str, cut: int) -> None:
    make, arguments = PIPELINES[name]
    check(make(), arguments, cut, sides=2 if name in TWO_SIDES else 1)


@pytest.mark.parametrize("cut", range(4))
@pytest.mark.parametrize("name", VIDEOS)
def test_every_video_pipeline_at_every_cut(name: str, cut: int) -> None:
    make, arguments = VIDEOS[name]
    check(make(), arguments, cut)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("make", [tiny.sd_pipeline, tiny.sdxl_pipeline])
def test_every_sampler(sampler: str, make: Any) -> None:
    pipe = make()
    pipe.scheduler = getattr(diffusers, sampler).from_config(pipe.scheduler.config)
    check(pipe, {"prompt": ["a coat", "a shoe"]}, 2)
