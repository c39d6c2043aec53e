"""Uniform schedules against the DeepCache package, at the cuts that it gets right."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from DeepCache import DeepCacheSDHelper

from deepcadence.schedules import cached, export_schedule, uniform
from tests import tiny

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
