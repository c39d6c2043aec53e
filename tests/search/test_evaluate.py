from __future__ import annotations

import pytest
import torch

from deepcadence.probe import Workload, count_macs
from deepcadence.schedules import from_full_calls, uniform
from deepcadence.search import PSNR_CAP, Evaluator, Measurement, SearchError
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


def test_an_adaptive_schedule_has_no_macs_to_compare_at(workload: Workload) -> None:
    with pytest.raises(SearchError, match="depend on the input"):
        Evaluator(workload).measure(uniform(6, 2, 0).adaptive(0.1))


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
