"""IP-Adapters on a cached model: loaded before attaching, scaled or taken away during a run."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers.models import embeddings

from deepcadence.probe import Workload, probe
from deepcadence.schedules import UnsupportedModelError, cached, family_of, uniform
from deepcadence.schedules.fingerprint import Adapters
from tests import tiny
from tests.schedules.test_pipelines import check, run

IMAGE = torch.randn(2, 1, tiny.CONTEXT, generator=torch.Generator().manual_seed(0))  # without guidance: zeros, image
ARGUMENTS: dict[str, Any] = {"prompt": "a coat", "ip_adapter_image_embeds": [IMAGE]}
VIDEO: dict[str, Any] = {**ARGUMENTS, "num_frames": 2}


def loaded(make: Any = tiny.sd_pipeline, **overrides: Any) -> Any:
    pipe = make(**overrides)
    tiny.load_ip_adapter(pipe.unet)
    return pipe


@pytest.mark.parametrize("cut", [0, 3])
@pytest.mark.parametrize(
    ("make", "arguments"),
    [(tiny.sd_pipeline, ARGUMENTS), (tiny.sdxl_pipeline, ARGUMENTS), (tiny.animatediff_pipeline, VIDEO)],
)
def test_an_adapter_that_was_loaded_before_attaching(make: Any, arguments: dict[str, Any], cut: int) -> None:
    pipe = loaded(make)
    assert not torch.equal(run(pipe, **arguments), run(make(), **{**arguments, "ip_adapter_image_embeds": None}))
    check(pipe, arguments, cut)


@pytest.mark.parametrize("scale", [0.3, {"down": 0.5, "up": 0.2}])
def test_a_scale_that_changes_during_a_run_makes_the_feature_stale(scale: Any) -> None:
    pipe = loaded()

    def change(_pipe: Any, step: int, _timestep: Any, state: dict[str, Any]) -> dict[str, Any]:
        if step == 2:
            pipe.set_ip_adapter_scale(scale)
        return state

    changing = {**ARGUMENTS, "callback_on_step_end": change}
    expected = run(pipe, **changing)
    pipe.set_ip_adapter_scale(1.0)
    assert not torch.equal(expected, run(pipe, **ARGUMENTS))
    with cached(pipe, uniform(6, 6, 1)) as attached:
        run(pipe, **ARGUMENTS)
        assert not attached.stats.forced
        run(pipe, **changing)
    assert attached.stats.forced == ((3, "an adapter changed"),)


def test_an_adapter_that_is_taken_away_during_a_run_makes_the_feature_stale() -> None:
    model = loaded().unet
    inputs = family_of(model).example_inputs(model)
    with torch.no_grad(), cached(model, uniform(3, 3, 1)) as attached:
        model(**inputs)
        model.encoder_hid_proj, model.config.encoder_hid_dim_type = None, None
        model.set_attn_processor(tiny.unet2d_condition().attn_processors)
        output = model(**inputs).sample
        assert torch.equal(output, tiny.unet2d_condition()(**inputs).sample)
    assert attached.stats.forced == ((1, "the model was changed"),)


def test_a_processor_that_is_exchanged_during_a_run_is_noticed() -> None:
    model = loaded().unet
    adapters = Adapters(model)
    before = adapters.state()
    assert before is not None
    assert before == adapters.state()
    model.set_attn_processor(tiny.unet2d_condition().attn_processors)
    assert adapters.state() != before


def test_modules_are_looked_through_once() -> None:
    model = loaded().unet
    adapters = Adapters(model)
    before = adapters.state()
    model.modules = lambda: pytest.fail("looked through again")
    assert adapters.state() == before


def test_no_adapter_no_state() -> None:
    assert Adapters(tiny.unet2d_condition()).state() is None


@pytest.mark.parametrize(
    "layer",
    [
        embeddings.ImageProjection(24, tiny.CONTEXT, 4),
        embeddings.IPAdapterFullImageProjection(24, tiny.CONTEXT),
        embeddings.IPAdapterFaceIDImageProjection(24, tiny.CONTEXT, num_tokens=4),
        embeddings.IPAdapterPlusImageProjection(24, tiny.CONTEXT, 32, heads=2, num_queries=4),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_inputs_for_every_projection(layer: Any) -> None:
    model = loaded().unet
    model.encoder_hid_proj.image_projection_layers[0] = layer
    images = family_of(model).example_inputs(model, batch=2)["added_cond_kwargs"]["image_embeds"]
    assert [image.shape[-1] for image in images] == [24]
    projected = model.encoder_hid_proj(images)[0]
    assert projected.shape[:2] == (2, 1)
    assert projected.shape[-1] == tiny.CONTEXT
    assert projected.ndim == 4


def test_a_projection_that_keeps_images_is_refused_by_name() -> None:
    model = loaded().unet
    model.encoder_hid_proj.image_projection_layers[0] = embeddings.IPAdapterFaceIDPlusImageProjection(
        24, tiny.CONTEXT, 32, heads=2
    )
    with pytest.raises(UnsupportedModelError, match="IPAdapterFaceIDPlusImageProjection keeps"):
        family_of(model).example_inputs(model)


def test_probing_with_an_adapter() -> None:
    workload = Workload(
        loaded(),
        steps=3,
        seeds=(0,),
        prompts=("a coat",),
        call_kwargs={"height": 16, "width": 16, "ip_adapter_image_embeds": [IMAGE]},
    )
    profile = probe(workload, cuts=[1])
    assert profile.output_error[0, 0, 1] > 0
