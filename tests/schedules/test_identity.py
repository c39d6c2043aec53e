"""Fingerprints of models and samplers, and the checks that use them."""

from __future__ import annotations

import enum
import json
import warnings
from collections import OrderedDict
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, HeunDiscreteScheduler, UNet2DModel

from deepcadence.schedules import (
    ModelInfo,
    SamplerInfo,
    Schedule,
    ScheduleError,
    ScheduleWarning,
    check_model,
    check_num_calls,
    check_sampler,
    config_sha256,
    model_info,
    sampler_info,
    uniform,
)


class Color(enum.Enum):
    RED = "red"


def tiny(**changes: Any) -> UNet2DModel:
    config = {"sample_size": 8, "block_out_channels": (32,), "layers_per_block": 1, "attention_head_dim": 8}
    config |= {"down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",)}
    return UNet2DModel(**config | changes)


def test_a_hash_is_of_the_content() -> None:
    config = {"b": [1, 2.5, None], "a": {"x": True}}
    assert config_sha256(config) == config_sha256({"a": {"x": True}, "b": (1, 2.5, None)})
    assert config_sha256(config) == config_sha256(config | {"_class_name": "UNet2DModel", "_diffusers_version": "1"})
    assert config_sha256(config) == config_sha256(OrderedDict(config))
    assert config_sha256(config) != config_sha256(config | {"c": 1})
    assert config_sha256(config) != config_sha256(config | {"a": {"x": 1}})


def test_a_model_that_is_quantized_has_the_hash_of_the_other() -> None:
    model = tiny()
    before = model_info(model, {0: "up_blocks.0.resnets.1"})
    model.register_to_config(quantization_config=object())  # diffusers puts its own there
    assert model_info(model, {0: "up_blocks.0.resnets.1"}) == before


def test_a_hash_stays_the_same_for_ever() -> None:
    # sha256 of {"a":1}: files in the world hold hashes that this function gave.
    assert config_sha256({"a": 1}) == "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"


def test_values_that_json_lacks() -> None:
    def same(value: object, plain: object) -> bool:
        return config_sha256({"x": value}) == config_sha256({"x": plain})

    assert same(torch.float16, "torch.float16")
    assert same(np.array([1.5, 2.0]), [1.5, 2.0])
    assert same(np.float32(0.5), 0.5)
    assert same(torch.tensor([1, 2]), [1, 2])
    assert same({3, 1, 2}, [1, 2, 3])
    assert same({"b", 1, "a"}, ["a", "b", 1])
    assert same(Color.RED, "red")
    assert same(PurePosixPath("a/b"), "a/b")
    with pytest.raises(ScheduleError, match=r"config\.x\[0\]: found a function, expected JSON data"):
        config_sha256({"x": [same]})


def test_model_info() -> None:
    model = tiny()
    info = model_info(model, {0: "up_blocks.0.resnets.1"})
    assert info.class_name == "UNet2DModel"
    assert info.cuts == {0: "up_blocks.0.resnets.1"}
    assert info.config_sha256 == config_sha256(json.loads(model.to_json_string()))
    assert info.config_sha256 != model_info(tiny(layers_per_block=2), {}).config_sha256
    compiled: Any = torch.compile(model)
    assert model_info(compiled, {0: "up_blocks.0.resnets.1"}) == info
    assert model_info(torch.nn.Linear(1, 1), {}) == ModelInfo(class_name="Linear")


def test_sampler_info() -> None:
    scheduler = DDIMScheduler()
    scheduler.set_timesteps(4)
    info = sampler_info(scheduler, scheduler.timesteps)
    assert info.class_name == "DDIMScheduler"
    assert info.timesteps == (750, 500, 250, 0)
    assert info.config_sha256 is not None
    assert info.steps is None
    assert sampler_info(scheduler, steps=4).steps == 4
    assert info.timestep_spacing == "leading"
    assert sampler_info(DDIMScheduler(timestep_spacing="trailing")).timestep_spacing == "trailing"
    assert sampler_info(object()).timestep_spacing is None
    assert sampler_info(scheduler).timesteps is None
    assert info.config_sha256 != sampler_info(DDIMScheduler(clip_sample=False)).config_sha256
    heun = HeunDiscreteScheduler()
    heun.set_timesteps(3)
    assert len(sampler_info(heun, heun.timesteps).timesteps or ()) == 5
    mixed: Any = [np.int64(3), torch.tensor(2.5)]
    assert sampler_info(scheduler, mixed).timesteps == (3, 2.5)
    schedule = uniform(4, 2, 1).model_copy(update={"sampler": info})
    assert Schedule.loads(schedule.dumps()) == schedule


MODEL = ModelInfo(class_name="UNet2DModel", config_sha256="0" * 64, cuts={0: "up.1", 1: "up.0"})


def schedule_for(cut: int, **changes: Any) -> Schedule:
    return Schedule(calls=("full", cut), model=MODEL.model_copy(update=changes))


def test_a_schedule_for_this_model_passes() -> None:
    check_model(uniform(4, 2, 1), MODEL)
    check_model(schedule_for(1), MODEL)
    check_model(schedule_for(1, config_sha256=None), MODEL)
    check_model(schedule_for(1, cuts={1: "up.0"}), MODEL)


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (uniform(4, 2, 5), r"calls\[1\]: found cut 5, expected a cut that this UNet2DModel has \(0, 1\)"),
        (
            schedule_for(1, class_name="DiT"),
            r'model\.class: found "DiT", expected "UNet2DModel", as this model has; .*',
        ),
        (
            schedule_for(1, config_sha256="1" * 64),
            r'model\.config_sha256: found "1{56}.*, expected "0{56}.*another model.*',
        ),
        (schedule_for(1, cuts={1: "mid"}), r'model\.cuts\["1"\]: found "mid", expected "up\.0", as this model has; .*'),
    ],
)
def test_a_schedule_for_another_model_is_refused(schedule: Schedule, message: str) -> None:
    with pytest.raises(ScheduleError, match=f"^file.json: {message}$"):
        check_model(schedule, MODEL, source="file.json")


def test_a_model_without_configuration_is_not_one_with() -> None:
    with pytest.raises(ScheduleError, match="expected a model without a configuration"):
        check_model(schedule_for(1), MODEL.model_copy(update={"config_sha256": None}))


def test_the_number_of_calls() -> None:
    check_num_calls(uniform(4, 2, 1), 4)
    with pytest.raises(ScheduleError, match=r"^file.json: calls: found 4 calls, expected 5.*schedule\.resample\(5\)"):
        check_num_calls(uniform(4, 2, 1), 5, source="file.json")
    made_for = uniform(4, 2, 1).model_copy(update={"sampler": SamplerInfo(class_name="DDIMScheduler", steps=3)})
    with pytest.raises(
        ScheduleError, match=r"run num_inference_steps=3, as its sampler\.steps says, or use schedule\.res"
    ):
        check_num_calls(made_for, 5)


def test_another_sampler_is_warned_of() -> None:
    sampler = SamplerInfo(class_name="DDIMScheduler", config_sha256="0" * 64, timesteps=(3, 2))
    schedule = uniform(2, 2, 1).model_copy(update={"sampler": sampler})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_sampler(schedule, sampler)
        check_sampler(schedule, sampler.model_copy(update={"timesteps": None}))
        check_sampler(uniform(2, 2, 1), sampler)
    spaced = uniform(2, 2, 1).model_copy(
        update={"sampler": sampler.model_copy(update={"timestep_spacing": "trailing"})}
    )
    with pytest.warns(
        ScheduleWarning, match=r"found \"trailing\", expected \"leading\".*timestep_spacing=\"trailing\"\)$"
    ):
        check_sampler(spaced, sampler.model_copy(update={"timestep_spacing": "leading", "config_sha256": "1" * 64}))
    for change in ({"class_name": "PNDMScheduler"}, {"config_sha256": "1" * 64}, {"timesteps": (5, 4)}):
        name = next(iter(change)).replace("class_name", "class")
        with pytest.warns(ScheduleWarning, match=rf"^schedule: sampler\.{name}: found "):
            check_sampler(schedule, sampler.model_copy(update=change))
