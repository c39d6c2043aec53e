"""Uniform schedules against the DeepCache package, at the cuts that it gets right."""

from __future__ import annotations

import json
import warnings
from typing import Any

import pytest
import torch
from DeepCache import DeepCacheSDHelper
from PIL import Image

from deepcadence.schedules import (
    DeepcadenceError,
    ScheduleWarning,
    apply,
    cached,
    export_schedule,
    family_of,
    uniform,
)
from tests import tiny
from tests.schedules.test_runtime import by_hand
from tests.schedules.test_runtime import generate as generate_with

STEPS = 7
# The package numbers cuts right for two layers per block, which all of these have.
PIPELINES: dict[str, Any] = {
    "SD": tiny.sd_pipeline,
    "SD three levels": lambda: tiny.sd_pipeline(
        block_out_channels=(16, 32, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D", "CrossAttnUpBlock2D"),
    ),
    "SDXL": tiny.sdxl_pipeline,
}


def generate(pipe: Any) -> torch.Tensor:
    output = pipe(
        ["a coat", "a shoe"],
        num_inference_steps=STEPS,
        generator=torch.Generator().manual_seed(0),
        output_type="np",
    )
    return torch.from_numpy(output.images)


@pytest.mark.parametrize("cut", [0, 1, 3, 4])
@pytest.mark.parametrize("interval", [2, 3, 5])
@pytest.mark.parametrize("name", PIPELINES)
def test_equal_to_the_bit(name: str, interval: int, cut: int) -> None:
    pipe = PIPELINES[name]()
    plain = generate(pipe)
    with cached(pipe, uniform(STEPS, interval, cut)):
        ours = generate(pipe)
    helper = DeepCacheSDHelper(pipe=pipe)
    helper.set_params(**json.loads(export_schedule(uniform(STEPS, interval, cut), "deepcache").text))
    helper.enable()
    theirs = generate(pipe)
    helper.disable()
    assert torch.equal(ours, theirs)
    assert not torch.equal(ours, plain)


class TestWhatItsUsersReport:
    """What makes the package fail, or silently reuse at the wrong calls; each with ours.

    Samplers with several calls a step are in test_pipelines.py, and another batch, threads on a shared U-Net and FreeU
    in test_runtime.py.
    """

    def test_img2img_after_another_strength(self) -> None:
        """The package remembers the first timestep of the run before, and counts from there."""
        pipe, schedule = tiny.sd_img2img_pipeline(), uniform(6, 3, 1)
        picture = Image.linear_gradient("L").resize((16, 16)).convert("RGB")
        given: list[dict[str, Any]] = [
            {"image": picture, "strength": strength, "steps": 6, "batch": 1} for strength in (1.0, 0.5, 0.9)
        ]
        expected = [by_hand(pipe, schedule, **each) for each in given]
        with cached(pipe, schedule) as run, warnings.catch_warnings():
            warnings.simplefilter("ignore", ScheduleWarning)  # the shorter runs use its first calls
            for each, images in zip(given, expected, strict=True):
                assert torch.equal(generate_with(pipe, **each), images)
                assert run.stats.full == -(-run.stats.calls // 3)

    def test_the_timestep_as_a_keyword(self) -> None:
        """The package takes it for the second positional argument."""
        model, schedule = tiny.unet2d_condition(), uniform(4, 2, 1)
        inputs = family_of(model).example_inputs(model, generator=torch.Generator().manual_seed(0))
        sample, timestep, text = (inputs.pop(name) for name in ("sample", "timestep", "encoder_hidden_states"))
        with torch.no_grad():
            handle = apply(model, schedule)
            positional = [model(sample + call, timestep, text, **inputs).sample for call in range(4)]
            handle.remove()
            handle = apply(model, schedule)
            for call in range(4):
                named = {"sample": sample + call, "timestep": timestep, "encoder_hidden_states": text}
                assert torch.equal(model(**named, **inputs).sample, positional[call])
            assert handle.stats.partial == 2
            handle.remove()

    def test_enabled_twice(self) -> None:
        """The package wraps its own wrappers, and cannot be disabled any more."""
        pipe, schedule = tiny.sd_pipeline(), uniform(STEPS, 3, 1)
        plain = generate(pipe)
        handle = apply(pipe, schedule)
        held = generate(pipe)
        with pytest.raises(DeepcadenceError, match="has a schedule already"):
            apply(pipe, schedule)
        assert torch.equal(generate(pipe), held)
        handle.remove()
        assert torch.equal(generate(pipe), plain)
        assert "forward" not in pipe.unet.__dict__
