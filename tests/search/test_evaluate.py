from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler, PNDMScheduler

from deepcadence.probe import Workload, WorkloadError, count_macs
from deepcadence.schedules import from_full_calls, uniform
from deepcadence.search import PSNR_CAP, Evaluator, Measurement, SearchError
from deepcadence.search.evaluate import NoFiguresError
from tests import tiny


def test_full_calls_only_change_nothing(workload: Workload) -> None:
    measured = Evaluator(workload).measure(from_full_calls(6, range(6), 0))
    assert measured.psnr.tolist() == [PSNR_CAP] * 3
    assert measured.speedup == 1.0


def test_macs_are_exact_and_of_the_schedule(workload: Workload) -> None:
    evaluator = Evaluator(workload)
    macs = count_macs(workload.pipeline.unet)
    measured = evaluator.measure(uniform(6, 3, 1))
    assert measured.mean_macs == (2 * macs.full + 4 * macs.partial[1]) / 6
    assert measured.speedup == macs.full / measured.mean_macs
    assert measured.psnr.shape == measured.ssim.shape == (3,)
    assert measured.images is None


def test_fewer_steps_start_from_the_same_noise_and_cost_their_calls(workload: Workload) -> None:
    evaluator = Evaluator(workload, keep_images=True)
    measured = evaluator.measure_fewer_steps(3)
    assert measured.mean_macs == evaluator.macs.full / 2
    assert measured.images is not None
    expected = torch.cat([workload.run((0, 1), steps=3), workload.run((2,), steps=3)])
    assert torch.equal(measured.images, expected)
    assert evaluator.measure_fewer_steps(5).psnr.mean() > evaluator.measure_fewer_steps(1).psnr.mean()


def test_fewer_steps_of_a_sampler_with_other_counts_of_calls() -> None:
    pipe = tiny.sd_pipeline()
    from diffusers import HeunDiscreteScheduler

    pipe.scheduler = HeunDiscreteScheduler.from_config(pipe.scheduler.config)
    evaluator = Evaluator(Workload(pipe, steps=4, seeds=(0,), prompts=("a",)))
    assert evaluator.num_calls == 7
    assert evaluator.fewer_steps_macs(2) == evaluator.macs.full * 3 / 7


def test_the_reference_is_run_once(workload: Workload) -> None:
    phases: list[tuple[str, int, int]] = []
    evaluator = Evaluator(workload, progress=lambda *event: phases.append(event))
    evaluator.measure(uniform(6, 2, 0))
    evaluator.measure(uniform(6, 3, 0), phase="mine")
    assert phases == [("reference", 2, 3), ("reference", 3, 3), ("mine", 2, 3), ("mine", 3, 3)]


def test_the_pipeline_is_as_before(workload: Workload) -> None:
    before = workload.run((0,))
    Evaluator(workload).measure(uniform(6, 6, 0))
    assert torch.equal(workload.run((0,)), before)


def test_a_schedule_of_another_length_is_an_error(workload: Workload) -> None:
    with pytest.raises(SearchError, match="has 5 calls, a run makes 6"):
        Evaluator(workload).measure(uniform(5, 2, 0))


def test_the_macs_of_an_adaptive_schedule_are_what_its_runs_took(workload: Workload) -> None:
    evaluator = Evaluator(workload)
    plan, macs = uniform(6, 6, 1), evaluator.macs
    never, always = (evaluator.measure(plan.adaptive(threshold)) for threshold in (1e9, 0.0))
    assert (never.went_on, always.went_on) == (0, 5)
    assert never.mean_macs == (macs.full + 5 * macs.partial[1]) / 6
    assert always.mean_macs == pytest.approx(macs.full)
    assert always.psnr.tolist() == [PSNR_CAP] * 3
    with_hold = evaluator.measure(plan.adaptive(1e9, max_hold=2))  # calls 3 and so on
    assert with_hold.went_on == 1
    assert with_hold.mean_macs == pytest.approx((2 * macs.full + 4 * macs.partial[1]) / 6)


def test_both_sides_of_guidance_decide() -> None:
    pipe = tiny.sd_pipeline()
    evaluator = Evaluator(Workload(pipe, steps=3, seeds=(0,), prompts=("a",)))
    always = evaluator.measure(uniform(3, 3, 0).adaptive(0.0))
    assert always.went_on == 2
    assert always.mean_macs == pytest.approx(evaluator.macs.full)


def test_fewer_steps_with_a_schedule_are_compared_with_all_steps(workload: Workload) -> None:
    evaluator = Evaluator(workload)
    plain = evaluator.measure_fewer_steps(3)
    full = evaluator.measure(from_full_calls(3, range(3), 0), steps=3)
    assert torch.equal(full.psnr, plain.psnr)
    assert full.mean_macs == plain.mean_macs
    macs = evaluator.macs
    assert evaluator.measure(uniform(3, 3, 1), steps=3).mean_macs == pytest.approx(
        (macs.full + 2 * macs.partial[1]) / 6
    )
    with pytest.raises(SearchError, match="has 6 calls, a run makes 3"):
        evaluator.measure(uniform(6, 2, 0), steps=3)


def test_another_spacing_of_the_timesteps() -> None:
    pipe = tiny.ddim_pipeline()
    own = pipe.scheduler
    evaluator = Evaluator(Workload(pipe, steps=3, seeds=(0,)), keep_images=True)
    measured = evaluator.measure(from_full_calls(3, range(3), 0), spacing="trailing")
    assert pipe.scheduler is own
    pipe.scheduler = type(own).from_config(own.config, timestep_spacing="trailing")
    assert measured.images is not None
    assert torch.equal(measured.images, Workload(pipe, steps=3).run((0,)))
    assert float(measured.psnr) < PSNR_CAP


def test_a_reference_that_is_not_finite_is_an_error() -> None:
    pipe = tiny.ddim_pipeline()
    with torch.no_grad():
        pipe.unet.conv_out.bias.fill_(float("nan"))
    with pytest.raises(SearchError, match="not finite"):
        _ = Evaluator(Workload(pipe, steps=2, seeds=(0,))).reference


def test_a_measurement_that_is_stopped_covers_the_first_batches(workload: Workload) -> None:
    evaluator, seen = Evaluator(workload), []

    def enough(so_far: Measurement) -> bool:
        seen.append(so_far.psnr)
        return True

    whole = evaluator.measure(uniform(6, 2, 0))
    stopped = evaluator.measure(uniform(6, 2, 0), enough=enough)
    assert torch.equal(stopped.psnr, whole.psnr[:2])
    assert torch.equal(stopped.ssim, whole.ssim[:2])
    assert [torch.equal(psnr, stopped.psnr) for psnr in seen] == [True]
    assert stopped.mean_macs == whole.mean_macs
    assert torch.equal(evaluator.measure(uniform(6, 2, 0), enough=lambda _: False).psnr, whole.psnr)


def test_fewer_steps_cost_the_calls_of_their_spacing() -> None:
    pipe = tiny.ddim_pipeline()
    pipe.scheduler = DDIMScheduler(num_train_timesteps=30)
    evaluator = Evaluator(Workload(pipe, steps=20, seeds=(0,)))
    measured = evaluator.measure_fewer_steps(13, spacing="trailing")  # of which diffusers makes 14
    assert measured.mean_macs == evaluator.fewer_steps_macs(13, "trailing") == evaluator.macs.full * 14 / 20
    assert evaluator.measure_fewer_steps(13).mean_macs == evaluator.macs.full * 13 / 20


def test_a_number_of_steps_with_which_the_pipeline_does_not_run_is_named() -> None:
    pipe = tiny.sd_pipeline()
    pipe.scheduler = PNDMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    workload = Workload(pipe, steps=6, seeds=(0,), prompts=("a",))
    evaluator = Evaluator(workload)
    assert [evaluator.runs(steps) for steps in (6, 5, 3)] == [True, True, False]
    with pytest.raises(SearchError, match=r"StableDiffusionPipeline does not run with 3 steps; expected .* the 6 of"):
        evaluator.measure_fewer_steps(3)
    with pytest.raises(SearchError, match="does not run with 3 steps spaced leading"):
        evaluator.calls_of(3, "leading")
    with pytest.raises(WorkloadError, match=r"^StableDiffusionPipeline does not run with these arguments"):
        _ = Evaluator(workload.replace(steps=3)).num_calls  # the reference itself


def test_memory_that_runs_out_is_no_matter_of_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Workload, "trace", fails)
    with pytest.raises(torch.OutOfMemoryError):
        Evaluator(Workload(tiny.ddim_pipeline(), steps=6, seeds=(0,))).runs(3)


def test_a_run_without_figures_says_so(workload: Workload) -> None:
    def half(images: torch.Tensor, *_: object) -> torch.Tensor:
        return torch.where(images.mean((1, 2, 3)) > 2, 1.0, float("nan"))

    with pytest.raises(NoFiguresError, match=r"'half' gave values .* 3 of them not finite"):
        Evaluator(workload, quality=half).measure(uniform(6, 2, 0))
