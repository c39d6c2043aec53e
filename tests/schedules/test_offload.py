"""Group offload of diffusers: its hooks stay outermost, or it is refused by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers.hooks import HookRegistry, ModelHook, apply_group_offloading

from deepcadence.schedules import UnsupportedModelError, apply, cached, uniform
from deepcadence.schedules.offload import execution_device
from tests import tiny
from tests.schedules.test_families import inputs_of


def offloaded(make: Any) -> Any:
    model = make()
    apply_group_offloading(model, "cpu", offload_type="block_level", num_blocks_per_group=1)
    return model


def outputs(model: Any, cut: int, device: str = "cpu") -> list[torch.Tensor]:
    inputs = [
        {name: part.to(device) if isinstance(part, torch.Tensor) else part for name, part in given.items()}
        for given in (inputs_of(model, seed) for seed in range(3))
    ]
    with torch.no_grad(), cached(model, uniform(3, 3, cut)):
        return [model(**given).sample for given in inputs]


@pytest.mark.parametrize(("make", "cut"), [(tiny.pixart, 1), (tiny.unet2d, 5)])
def test_the_model_is_as_found_after_removal(make: Any, cut: int) -> None:
    model, expected = offloaded(make), outputs(make(), cut)
    reference = model._diffusers_hook._fn_refs[0]
    found, inner, before, calls = model.forward, reference.forward, reference.pre_forward, list[int]()

    def watched(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return before(*args, **kwargs)

    reference.pre_forward = watched
    handle = apply(model, uniform(3, 3, cut))
    calls.clear()
    with torch.no_grad():
        assert all(torch.equal(model(**inputs_of(model, seed)).sample, expected[seed]) for seed in range(3))
    assert len(calls) == 3
    handle.remove()
    assert model.forward is found
    assert reference.forward == inner


def test_offloaded_while_attached() -> None:
    model, expected = tiny.pixart(), outputs(tiny.pixart(), 1)
    handle = apply(model, uniform(3, 3, 1))
    apply_group_offloading(model, "cpu", offload_type="block_level", num_blocks_per_group=1)
    with torch.no_grad():
        assert all(torch.equal(model(**inputs_of(model, seed)).sample, expected[seed]) for seed in range(3))
    assert handle.stats.partial == 2
    handle.remove()
    assert model._diffusers_hook._fn_refs[0].forward.__func__ is type(model).forward


def test_inputs_of_the_self_test_go_where_the_model_computes() -> None:
    model = offloaded(tiny.pixart)
    model._diffusers_hook.get_hook("group_offloading").config.onload_device = torch.device("meta")
    assert execution_device(model) == torch.device("meta")
    assert execution_device(tiny.pixart()) is None


def test_a_block_that_is_split_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedModelError, match=r"up_blocks\.1 \(UpBlock2D\) carries a replaced forward"):
        apply(offloaded(tiny.unet2d), uniform(3, 3, 0))


def test_blocks_that_are_loaded_ahead_are_refused_by_name() -> None:
    model = offloaded(tiny.pixart)
    model._diffusers_hook.get_hook("group_offloading").config.stream = object()  # there are none on a CPU
    with pytest.raises(UnsupportedModelError, match=r"group offload of this .* with use_stream=True"):
        apply(model, uniform(3, 3, 1))


def test_a_compiled_model_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedModelError, match="both compiled and offloaded"):
        apply(torch.compile(offloaded(tiny.pixart), backend="eager"), uniform(3, 3, 1))


def test_another_hook_on_the_model_is_refused_by_name() -> None:
    model = tiny.pixart()
    HookRegistry.check_if_exists_or_initialize(model).register_hook(ModelHook(), "some")
    with pytest.raises(UnsupportedModelError, match=r"was replaced, by ModelHook,"):
        apply(model, uniform(3, 3, 1))


@pytest.mark.gpu
@pytest.mark.parametrize("level", ["block_level", "leaf_level"])
def test_groups_that_come_to_a_gpu(level: str) -> None:
    expected = outputs(tiny.pixart().to("cuda"), 1, "cuda")
    model = tiny.pixart()
    apply_group_offloading(model, "cuda", offload_type=level, num_blocks_per_group=1)
    torch.testing.assert_close(outputs(model, 1, "cuda"), expected)


@pytest.mark.gpu
@pytest.mark.parametrize("how", ["enable_model_cpu_offload", "enable_sequential_cpu_offload"])
def test_pipelines_that_come_to_a_gpu(how: str) -> None:
    def run(pipe: Any) -> Any:
        arguments = {"num_inference_steps": 3, "output_type": "latent", "generator": torch.Generator().manual_seed(0)}
        with cached(pipe, uniform(3, 3, 1)):
            return [pipe(prompt, **arguments).images for prompt in ("a coat", "a shoe")]

    pipe = tiny.sd_pipeline()
    getattr(pipe, how)()
    torch.testing.assert_close(run(pipe), run(tiny.sd_pipeline().to("cuda")))
