"""The runtime on the pipelines and samplers that people use, against explicit full and partial calls."""

from __future__ import annotations

from typing import Any

import diffusers
import pytest
import torch
from PIL import Image

from deepcadence.schedules import cached, uniform
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
}
VIDEOS: dict[str, tuple[Any, dict[str, Any]]] = {
    "SVD": (tiny.svd_pipeline, {"image": PICTURE, "height": 16, "width": 16, "num_frames": 3}),
    "AnimateDiff": (tiny.animatediff_pipeline, {"prompt": ["a coat", "a shoe"], "num_frames": 3}),
    "text to video": (tiny.text_to_video_pipeline, {"prompt": ["a coat", "a shoe"], "num_frames": 3}),
}


def run(pipe: Any, **arguments: Any) -> torch.Tensor:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    result = pipe(**arguments, generator=generator, num_inference_steps=6, output_type="np")
    return torch.from_numpy(result.images if hasattr(result, "images") else result.frames)


def count_calls(pipe: Any, **arguments: Any) -> tuple[int, torch.Tensor]:
    calls: list[int] = []
    handle = pipe.unet.register_forward_hook(lambda *_: calls.append(1))
    images = run(pipe, **arguments)
    handle.remove()
    return len(calls), images


def check(pipe: Any, arguments: dict[str, Any], cut: int) -> None:
    calls, plain = count_calls(pipe, **arguments)
    with cached(pipe, uniform(calls, 1, cut)):
        assert torch.equal(run(pipe, **arguments), plain)
    schedule = uniform(calls, 2, cut)
    pipe.unet.forward = Oracle(pipe.unet, schedule)
    expected = run(pipe, **arguments)
    del pipe.unet.forward
    assert not torch.equal(expected, plain)
    with cached(pipe, schedule) as attached:
        assert torch.equal(run(pipe, **arguments), expected)
    assert attached.stats.calls == calls
    assert attached.stats.partial == calls // 2
    assert attached.stats.forced == ()


@pytest.mark.parametrize("cut", range(6))
@pytest.mark.parametrize("name", PIPELINES)
def test_every_pipeline_at_every_cut(name: str, cut: int) -> None:
    make, arguments = PIPELINES[name]
    check(make(), arguments, cut)


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
