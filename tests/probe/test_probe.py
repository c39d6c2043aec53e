"""Probing from end to end, on small pipelines."""

from __future__ import annotations

import math
from importlib.metadata import version
from typing import Any

import pytest
import torch
from packaging.version import Version
from PIL import Image

from deepcadence.probe import Profile, ProfileError, Workload, estimate_memory, probe, record
from deepcadence.schedules import config_sha256
from tests import tiny

SIZE = {"height": 16, "width": 16}


def sd(**changes: Any) -> Workload:
    workload = Workload(tiny.sd_pipeline(), steps=4, seeds=(3, 4, 5), prompts=("a cat", "a dog"), call_kwargs=SIZE)
    return workload.replace(**changes)


def ddim(**changes: Any) -> Workload:
    return Workload(tiny.ddim_pipeline(), steps=4, seeds=(0, 1, 2)).replace(**changes)


VIDEO = {**SIZE, "num_frames": 3}


def svd(**changes: Any) -> Workload:
    picture = Image.linear_gradient("L").resize((16, 16)).convert("RGB")
    workload = Workload(tiny.svd_pipeline(), steps=3, seeds=(0, 1), call_kwargs={"image": picture, **VIDEO})
    return workload.replace(**changes)


def animatediff(**changes: Any) -> Workload:
    workload = Workload(
        tiny.animatediff_pipeline(), steps=3, seeds=(0, 1), prompts=("a cat", "a dog"), call_kwargs=VIDEO
    )
    return workload.replace(**changes)


def text_to_video(**changes: Any) -> Workload:
    pipeline = tiny.text_to_video_pipeline()
    workload = Workload(pipeline, steps=3, seeds=(0, 1), prompts=("a cat", "a dog"), call_kwargs=VIDEO)
    return workload.replace(**changes)


def same(first: Profile, second: Profile, rtol: float = 1e-2, atol: float = 2e-3) -> None:
    for name in ("cosine", "relative_l2", "relative_l1", "output_error"):
        for suffix in ("", "_std"):
            a, b = getattr(first, name + suffix), getattr(second, name + suffix)
            torch.testing.assert_close(a, b, equal_nan=True, rtol=rtol, atol=atol)


@pytest.mark.parametrize("make", [sd, ddim, svd, animatediff, text_to_video])
def test_a_profile_does_not_depend_on_the_batches(make: Any) -> None:
    together = probe(make(batch_size=8), cuts=[1, 3], error_samples=None)
    same(together, probe(make(batch_size=1), cuts=[1, 3], error_samples=None))


@pytest.mark.parametrize(("make", "shape"), [(svd, (3, 8, 8, 8)), (animatediff, (4, 3, 8, 8))])
def test_a_video_is_one_sample(make: Any, shape: tuple[int, ...]) -> None:
    workload = make(seeds=(0,))
    plan = estimate_memory(workload, [0], max_distance=0)
    profile = probe(workload, cuts=[0])
    macs = profile.meta.macs
    assert macs.sample_shape == shape
    assert macs.feature_shapes[0][0] == 3
    rows, floats = 2, math.prod(macs.feature_shapes[0])
    assert plan.bytes_to_hold_all == 3 * rows * floats * 4
    with record(workload.pipeline, [0]) as recording:
        workload.call((0,), output_type="latent")
    assert recording.features[0][0].shape == (rows, *macs.feature_shapes[0])


def test_what_a_profile_holds() -> None:
    workload = sd()
    told: list[tuple[str, int, int]] = []
    profile = probe(workload, cuts=[4, 1], max_distance=2, progress=lambda *args: told.append(args))
    assert profile.cuts == (1, 4)
    assert profile.index(4) == 1
    assert profile.num_calls == 4
    for name in ("cosine", "relative_l2", "relative_l1", "output_error"):
        assert getattr(profile, name).shape == getattr(profile, name + "_std").shape == (2, 4, 4)
        assert getattr(profile, name).dtype == torch.float32
    i, j = torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij")
    measured = (i < j) & (j - i <= 2)
    assert torch.equal(~profile.output_error.isnan(), measured.expand(2, 4, 4))
    assert (profile.output_error[:, measured] > 0).all()
    assert (profile.cosine_std[:, i != j] > 0).all()
    meta = profile.meta
    assert (meta.rows, meta.steps, meta.seeds, meta.error_seeds) == (2, 4, (3, 4, 5), (3, 4))
    assert meta.model.config_sha256 == config_sha256(workload.pipeline.unet.config)
    assert set(meta.model.cuts) == set(range(6))
    assert meta.sampler.class_name == "DDIMScheduler"
    assert len(meta.timesteps) == 4
    assert meta.macs.sample_shape == (4, 8, 8)
    assert set(meta.macs.partial) == set(range(6))
    assert meta.projection is None
    assert {total for _, _, total in told} == {told[-1][1]}
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)


def test_guidance_branches_are_averaged_within_a_sample() -> None:
    """Without spread between samples there is none from the branches either."""
    alone = [probe(sd(seeds=(seed,), prompts=("a cat",)), cuts=[2], max_distance=None) for seed in (3, 5)]
    assert alone[0].cosine_std.isnan().all()
    assert alone[0].output_error_std.isnan().all()
    both = probe(sd(seeds=(3, 5), prompts=("a cat",), batch_size=2), cuts=[2], max_distance=None)
    for name in ("cosine", "output_error"):
        values = torch.stack([getattr(profile, name) for profile in alone])
        torch.testing.assert_close(getattr(both, name), values.mean(0), rtol=1e-2, atol=1e-3, equal_nan=True)
        spread = values.std(0).nan_to_num(0)
        torch.testing.assert_close(getattr(both, f"{name}_std").nan_to_num(0), spread, rtol=0.1, atol=2e-3)


def test_no_output_errors_where_none_are_asked_for() -> None:
    for options in ({"max_distance": 0}, {"error_samples": 0}):
        profile = probe(ddim(), **options)  # type: ignore[arg-type]
        assert profile.output_error.isnan().all()
        assert profile.meta.error_seeds == ()
        assert not profile.cosine.isnan().any()


def test_too_little_memory_means_smaller_batches_then_projections_then_an_error() -> None:
    workload = ddim(batch_size=3)
    roomy = estimate_memory(workload)
    assert (roomy.batch_size, roomy.projection) == (3, None)
    smaller = estimate_memory(workload, memory_limit=roomy.bytes_to_hold_all)
    assert smaller.batch_size < 3
    assert smaller.projection is None
    one = smaller.bytes_to_hold_all // smaller.batch_size
    small = estimate_memory(workload, memory_limit=one)
    assert small.projection is not None
    assert small.bytes <= one
    assert "projected to" in str(small)
    with pytest.raises(ProfileError, match="memory_limit: found 1000 B, expected at least"):
        probe(workload, memory_limit=1000)
    same(probe(workload), probe(workload, memory_limit=roomy.bytes_to_hold_all))


def test_a_projected_profile_keeps_to_its_bound_and_claims_no_l1() -> None:
    workload = ddim(seeds=(0,), steps=12)
    whole = probe(workload, cuts=[2], max_distance=1)
    limit = estimate_memory(workload, cuts=[2]).bytes_to_hold_all * 3 // 4
    projected = probe(workload, cuts=[2], memory_limit=limit, max_distance=1)
    info = projected.meta.projection
    assert info is not None
    assert projected.meta.max_distance == 1
    off = ~torch.eye(12, dtype=torch.bool)
    errors = (projected.relative_l2[:, off] / whole.relative_l2[:, off] - 1).abs()
    assert (errors <= info.relative_error).double().mean() >= info.confidence
    assert projected.relative_l1.isnan().all()
    torch.testing.assert_close(projected.output_error, whole.output_error, equal_nan=True)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
def test_features_that_mean_nothing_are_named(value: float) -> None:
    workload = ddim(seeds=(0,))
    calls: list[int] = []

    def spoil(_: Any, __: Any, output: Any) -> Any:
        calls.append(1)
        spoilt = len(calls) > 1 + 2  # the first call is the one that counts calls
        return torch.full_like(output, value) if spoilt else output

    workload.pipeline.unet.mid_block.register_forward_hook(spoil)
    with pytest.raises(ProfileError, match="cut 5, call 2: found a feature"):
        probe(workload, cuts=[5], max_distance=0)


def test_outputs_that_mean_nothing_are_named() -> None:
    workload = ddim(seeds=(0,))
    workload.pipeline.unet.conv_out.register_forward_hook(lambda _, __, output: output * 0)
    with pytest.raises(ProfileError, match="cut 0, call 1: found an output that is not finite or is zero"):
        probe(workload, cuts=[0])


def test_nothing_to_do_is_an_error() -> None:
    with pytest.raises(ProfileError, match="seeds: found none"):
        probe(ddim(seeds=()))
    with pytest.raises(ProfileError, match=r"cuts: found \[\], expected some of 0 to 5"):
        probe(ddim(), cuts=[])
    with pytest.raises(ProfileError, match="max_distance: found -1, expected a whole number of at least 0"):
        probe(ddim(), max_distance=-1)


@pytest.mark.skipif(Version(version("diffusers")) < Version("0.41"), reason="DDIMPipeline gave no images of bfloat16")
def test_half_precision() -> None:
    workload = ddim(seeds=(0,))
    full = probe(workload)
    workload.pipeline.to(torch.bfloat16)
    half = probe(workload)
    assert half.meta.dtype == "bfloat16"
    torch.testing.assert_close(half.cosine, full.cosine, atol=0.15, rtol=0)


def test_every_rank_needs_a_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepcadence.probe.probing.gather", lambda values: torch.stack([values, values]))
    with pytest.raises(ProfileError, match="seeds: found 1, expected at least 2, one for each rank"):
        probe(ddim(seeds=(0,)))
