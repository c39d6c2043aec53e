"""Recording: the run is what it is without, the features are those that the runtime reuses, nothing stays behind."""

from __future__ import annotations

import re
from typing import Any

import diffusers
import pytest
import torch

from deepcadence.probe import ProfileError, Workload, record
from deepcadence.probe.output_error import repeated
from deepcadence.probe.projection import projection_info
from deepcadence.schedules import from_full_calls
from tests import tiny

SIZE = {"height": 16, "width": 16}


def workload(name: str = "sd", **overrides: Any) -> Workload:
    if name == "ddim":
        return Workload(tiny.ddim_pipeline(**overrides), steps=5, seeds=(0, 1))
    pipeline = tiny.sdxl_pipeline(**overrides) if name == "sdxl" else tiny.sd_pipeline(**overrides)
    return Workload(pipeline, steps=5, seeds=(0, 1), prompts=("a cat", "a dog"), call_kwargs=SIZE)


def entering(pipeline: Any, name: str, channels: int, kept: list[torch.Tensor]) -> Any:
    """A hook that keeps the first `channels` of what enters a layer: the feature, before the skip is joined to it."""
    layer = pipeline.unet.get_submodule(name)
    return layer.register_forward_pre_hook(lambda _, args: kept.append(args[0][:, :channels].clone()))


@pytest.mark.parametrize("name", ["ddim", "sd", "sdxl"])
def test_features_are_what_enters_the_layers_at_the_cuts(name: str) -> None:
    work = workload(name)
    with record(work.pipeline) as recording:
        images = work.run()
    assert torch.equal(images, work.run())
    names = dict(enumerate(_layers(work.pipeline)))
    assert set(recording.features) == set(names)
    for cut, layer in names.items():
        kept: list[torch.Tensor] = []
        handle = entering(work.pipeline, layer, recording.features[cut][0].shape[1], kept)
        work.run()
        handle.remove()
        assert len(kept) == recording.num_calls == 5
        assert all(torch.equal(a, b) for a, b in zip(kept, recording.features[cut], strict=True))


def _layers(pipeline: Any) -> list[str]:
    from deepcadence.schedules.families import family_of

    cuts = family_of(pipeline.unet).cuts(pipeline.unet)
    return [cuts[cut] for cut in sorted(cuts)]


def test_nothing_stays_behind_not_even_after_an_exception() -> None:
    work = workload("ddim")
    unet = work.pipeline.unet
    before = {name: dict(module.__dict__) for name, module in unet.named_modules()}
    with record(work.pipeline):
        work.run()
    handle = unet.mid_block.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError), record(work.pipeline):
        work.run()
    handle.remove()
    for name, module in unet.named_modules():
        assert module.__dict__.keys() == before[name].keys()
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    assert "forward" not in vars(unet)


def test_features_stay_on_the_device_as_they_are() -> None:
    work = workload("ddim")
    with record(work.pipeline, cuts=[1]) as recording:
        work.run()
    assert list(recording.features) == [1]
    assert recording.features[1][0].shape == (2, 16, 16, 16)
    assert not recording.features[1][0].requires_grad
    assert recording.timestep_numbers() == (801, 601, 401, 201, 1) or recording.timestep_numbers() == (
        800,
        600,
        400,
        200,
        0,
    )


def test_projected_features_are_small_and_lengths_exact() -> None:
    work = workload("ddim")
    with record(work.pipeline, cuts=[0]) as whole:
        work.run()
    with record(work.pipeline, cuts=[0], projection=projection_info(64)) as small:
        work.run()
    assert [feature.shape for feature in small.features[0]] == [(2, 64)] * 5
    for feature, norm in zip(whole.features[0], small.norms[0], strict=True):
        torch.testing.assert_close(feature.flatten(1).norm(dim=1), norm)


@pytest.mark.parametrize("name", ["ddim", "sd", "sdxl"])
@pytest.mark.parametrize("max_distance", [2, 9])
def test_output_errors_are_those_of_single_partial_calls(name: str, max_distance: int) -> None:
    """Against a plain loop: the full output at call j, and a partial call for each older feature."""
    work = workload(name)
    from deepcadence.schedules.families import family_of

    model = work.pipeline.unet
    views = family_of(model).views(model, [0, 3])
    expected = torch.full((2, 5, 5), float("nan"))
    stored: dict[int, list[torch.Tensor]] = {0: [], 3: []}
    rows: list[int] = []

    def hook(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        _, features = views.full(*args, **kwargs)
        j = len(stored[0])
        for index, cut in enumerate(stored):
            for i in range(max(0, j - max_distance), j):
                found = views.partial(cut, stored[cut][i], *args, **kwargs)[0]
                errors = (found - output[0]).flatten(1).norm(dim=1) / output[0].flatten(1).norm(dim=1)
                expected[index, i, j] = errors.mean()
            stored[cut].append(features[cut])
        rows.append(len(output[0]))

    with record(work.pipeline, [0, 3], max_distance=max_distance) as recording:
        work.run()
    handle = model.register_forward_hook(hook, with_kwargs=True)
    work.run()
    handle.remove()
    assert recording.errors is not None
    found = recording.errors.matrices(rows[0], 5)
    measured = torch.stack([found[cut].mean(0) for cut in (0, 3)]).float()
    torch.testing.assert_close(measured, expected, rtol=1e-3, atol=1e-6, equal_nan=True)
    assert (measured[~measured.isnan()] > 0).all()


def test_arguments_are_repeated_along_the_batch_only() -> None:
    value = {
        "sample": torch.arange(4.0).view(2, 2),
        "timestep": torch.tensor(7),
        "more": {"ids": torch.tensor([1, 2])},
        "one": torch.zeros(1),
        "flag": False,
    }
    result = repeated(value, 2, 3)
    assert torch.equal(result["sample"], torch.cat([value["sample"]] * 3))  # type: ignore[list-item]
    assert torch.equal(result["more"]["ids"], torch.tensor([1, 2, 1, 2, 1, 2]))
    assert result["timestep"].ndim == 0
    assert len(result["one"]) == 1
    assert result["flag"] is False


def test_a_batch_that_changes_is_refused_by_name() -> None:
    model = tiny.unet2d()
    with record(model) as recording, torch.no_grad():
        model(torch.zeros(2, 3, 16, 16), 1)
        with pytest.raises(ProfileError, match=r"cut 0, call 1: found a feature of shape \[1, .* as in call 0"):
            model(torch.zeros(1, 3, 16, 16), 1)
    assert recording.num_calls == 1
    assert "forward" not in vars(model)


def test_unknown_cuts_are_refused() -> None:
    message = re.escape("cuts: found [7], expected some of 0 to 5")
    with pytest.raises(ProfileError, match=message), record(tiny.unet2d(), [7]):
        pass


def test_a_schedule_that_is_attached_is_noticed() -> None:
    from deepcadence.probe import WorkloadError
    from deepcadence.schedules import cached

    work = workload("ddim")
    with cached(work.pipeline, from_full_calls(5, [0, 2], 0)), pytest.raises(WorkloadError, match="remove that first"):
        work.num_calls()


def test_a_compiled_denoiser_is_recorded_and_stays_compiled() -> None:
    work = workload("ddim")
    images = work.run()
    compiled = torch.compile(work.pipeline.unet, backend="eager")
    work.pipeline.unet = compiled
    assert work.num_calls() == 5
    with record(work.pipeline, [0]) as recording:
        torch.testing.assert_close(work.run(), images)
    assert recording.num_calls == 5
    assert work.pipeline.unet is compiled
    torch.testing.assert_close(work.run(), images)
    assert recording.num_calls == 5


def test_freeu_is_recorded_as_it_runs() -> None:
    work = workload("sd")
    plain = work.run()
    work.pipeline.enable_freeu(s1=0.9, s2=0.2, b1=1.2, b2=1.4)
    with record(work.pipeline) as recording:
        images = work.run()
    assert torch.equal(images, work.run())
    assert recording.num_calls == 5
    assert plain.shape == images.shape


@pytest.mark.parametrize("scheduler", ["HeunDiscreteScheduler", "PNDMScheduler"])
def test_samplers_with_more_calls_than_steps(scheduler: str) -> None:
    work = workload("sd")
    work.pipeline.scheduler = getattr(diffusers, scheduler).from_config(work.pipeline.scheduler.config)
    calls = work.num_calls()
    with record(work.pipeline, [0]) as recording:
        work.run()
    assert recording.num_calls == calls > 5
