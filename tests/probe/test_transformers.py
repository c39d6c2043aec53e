"""Probing transformers: other components, shapes and ways of guidance than those of U-Nets."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from deepcadence.probe import ProfileError, Workload, count_macs, probe, record
from deepcadence.schedules import cached, from_full_calls, uniform
from tests import tiny

NEGATIVE = tuple(f"negative_{name}" for name in tiny.POOLED)
SMALL = {"height": 16, "width": 16}
LARGER = {"height": 32, "width": 32}
WORKLOADS: dict[str, tuple[Any, dict[str, Any]]] = {
    "dit": (tiny.dit_pipeline, {"class_labels": [1, 2]}),
    "sd3": (tiny.sd3_pipeline, {**SMALL, **tiny.text(*tiny.POOLED, *NEGATIVE)}),
    "flux": (tiny.flux_pipeline, {**SMALL, **tiny.text(*tiny.POOLED)}),
    "flux true guidance": (
        tiny.flux_pipeline,
        {**SMALL, **tiny.text(*tiny.POOLED, *NEGATIVE), "true_cfg_scale": 3.0},
    ),
    "wan": (
        tiny.wan_pipeline,
        {**LARGER, "num_frames": 5, **tiny.text("prompt_embeds", "negative_prompt_embeds")},
    ),
}


def workload(name: str, **changes: Any) -> Workload:
    make, arguments = WORKLOADS[name]
    return Workload(make(), steps=3, seeds=(0, 1), call_kwargs=arguments).replace(**changes)


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_profile_does_not_depend_on_the_batches(name: str) -> None:
    chosen = workload(name)
    told: list[tuple[str, int, int]] = []
    profile = probe(chosen, error_samples=None, progress=lambda *args: told.append(args))
    alone = probe(chosen.replace(batch_size=1), error_samples=None)
    for measure in ("cosine", "relative_l2", "relative_l1", "output_error"):
        found, expected = getattr(profile, measure), getattr(alone, measure)
        assert found.shape == (3, 3, 3)
        torch.testing.assert_close(found, expected, equal_nan=True, rtol=1e-3, atol=1e-4)
    assert (profile.output_error[:, 0, 1:] > 0).all()
    assert profile.meta.rows == (1 if name == "flux" else 2)
    assert profile.num_calls == 3
    assert told[-1] == ("probe", told[-1][2], told[-1][2])


@pytest.mark.parametrize("name", WORKLOADS)
def test_output_errors_are_those_of_the_runtime(name: str) -> None:
    chosen = workload(name, seeds=(0,))
    profile = probe(chosen)
    plain, reused = (outputs(chosen, schedule) for schedule in (uniform(3, 1, 1), from_full_calls(3, [0, 2], 1)))
    sides = len(plain) // 3
    rows = [
        torch.linalg.vector_norm(new - old) / torch.linalg.vector_norm(old)
        for side in range(sides)
        for new, old in zip(reused[sides + side], plain[sides + side], strict=True)
    ]
    torch.testing.assert_close(profile.output_error[1, 0, 1], torch.stack(rows).mean(), rtol=1e-4, atol=1e-6)


def outputs(chosen: Workload, schedule: Any) -> list[torch.Tensor]:
    """What the denoiser gives in each call of a run under `schedule`."""
    found: list[torch.Tensor] = []
    handle = chosen.pipeline.transformer.register_forward_hook(lambda _module, _args, output: found.append(output[0]))
    with cached(chosen.pipeline, schedule):
        found.clear()
        chosen.call((0,))
    handle.remove()
    return found


def test_a_trace_counts_the_calls_of_one_side() -> None:
    trace = workload("flux true guidance").trace()
    assert (trace.num_calls, trace.sides, trace.rows) == (3, 2, 2)
    assert trace.sample_shape == (16, 16)
    assert trace.timesteps is not None
    assert len(trace.timesteps) == 3
    assert workload("wan").trace().sample_shape == (4, 2, 4, 4)


def test_guidance_in_some_steps_only_cannot_be_profiled() -> None:
    chosen = workload("sd3")
    skipping = {"skip_guidance_layers": [4], "skip_layer_guidance_start": 0.0, "skip_layer_guidance_stop": 0.5}
    with pytest.raises(ProfileError, match="not computed in every step"):
        probe(chosen.replace(call_kwargs={**chosen.call_kwargs, **skipping}))


def test_recorded_features_of_both_sides_count_as_one_call() -> None:
    chosen = workload("wan")
    with record(chosen.pipeline) as recording:
        chosen.call((0, 1))
    assert recording.num_calls == 3
    assert [tuple(feature.shape) for feature in recording.features[0]] == [(4, 8, 24)] * 3


@pytest.mark.parametrize("make", [tiny.dit, tiny.pixart, tiny.sd3, tiny.flux, tiny.sana, tiny.wan])
def test_partial_calls_cost_more_the_higher_the_cut(make: Any) -> None:
    size = {tiny.flux: (8, 8), tiny.wan: (2, 8, 8)}.get(make)
    macs = count_macs(make(), size=size)
    figures = [macs.partial[cut] for cut in range(3)]
    assert figures == sorted(set(figures))
    assert figures[0] > 0
    assert figures[-1] < macs.full
    # of 6 blocks that cost about as much each, 2, 3 and 4 run
    assert [round(6 * figure / macs.full) for figure in figures] == [2, 3, 4]


def test_sizes_of_videos_and_of_packed_latents() -> None:
    assert count_macs(tiny.wan(), size=(2, 8, 8)).sample_shape == (4, 2, 8, 8)
    assert count_macs(tiny.flux(), size=(8, 8)) == count_macs(tiny.flux(), size=(16,))
    assert count_macs(tiny.flux(), size=(16,)).sample_shape == (16, 16)
    assert count_macs(tiny.flux(), cuts=[0]).sample_shape == (64 * 64, 16)
    assert count_macs(tiny.wan(rope_max_seq_len=64), cuts=[0]).sample_shape == (4, 21, 60, 104)
