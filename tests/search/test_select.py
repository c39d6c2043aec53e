from __future__ import annotations

import math
from typing import Any

import pytest

from deepcadence.probe import Macs
from deepcadence.schedules import ModelInfo, SamplerInfo, Schedule
from deepcadence.search import CallSeconds, SearchError, StudyResult, TrialRecord, select


def trial(number: int, speedup: float, psnr: float, **changes: Any) -> TrialRecord:
    values: dict[str, Any] = {
        "number": number,
        "origin": "nonuniform",
        "label": f"t{number}",
        "calls": ("full", 0),
        "steps": 2,
        "psnr": psnr,
        "ssim": 1 - psnr / 100,
        "mean_macs": 100 / speedup,
        "speedup": speedup,
        "psnr_samples": (psnr,),
        "ssim_samples": (0.5,),
        "seconds_per_sample": 1.0,
    }
    return TrialRecord(**(values | changes))


def study(*trials: TrialRecord, metric: str = "psnr") -> StudyResult:
    return StudyResult(
        study_name="s",
        metric=metric,
        trials=trials,
        failed=(),
        num_calls=2,
        steps=2,
        seeds=(0,),
        cuts=(0, 1),
        full_macs=100,
        partial_macs={0: 10, 1: 30},
        counter="exact",
        sample_shape=(3, 8, 8),
        model=ModelInfo(class_name="M", cuts={0: "outer", 1: "inner"}),
        sampler=SamplerInfo(class_name="S"),
        fingerprint="f",
    )


RESULT = study(
    trial(0, 1.5, 40),
    trial(1, 2.0, 30),
    trial(2, 2.1, 35),
    trial(3, 3.0, 20),
    trial(4, 4.0, 99, origin="fewer_steps", calls=None, steps=1),
)


def test_target_speedup_takes_the_best_that_is_fast_enough() -> None:
    assert select(RESULT, target_speedup=1.0).number == 0
    assert select(RESULT, target_speedup=2.0).number == 2
    assert select(RESULT, target_speedup=3.0).number == 3


def test_max_macs_is_a_limit_of_the_same_kind() -> None:
    assert select(RESULT, max_macs=100).number == 0
    assert select(RESULT, max_macs=50).number == 2
    assert select(RESULT, max_macs=40).number == 3
    assert select(RESULT, max_macs=50, target_speedup=3.0).number == 3
    assert select(RESULT, max_macs=34, target_speedup=1.5).number == 3


def test_quality_alone_takes_the_cheapest_that_is_good_enough() -> None:
    assert select(RESULT, min_quality={"psnr": 30}).number == 2
    assert select(RESULT, min_quality={"psnr": 10}).number == 3
    assert select(RESULT, min_quality={"psnr": 38}).number == 0
    assert select(RESULT, min_quality={"ssim": 0.8}).number == 3  # here ssim falls as psnr rises
    assert select(RESULT, min_quality={"psnr": 25, "ssim": 0.68}).number == 1


def test_cost_and_quality() -> None:
    assert select(RESULT, target_speedup=1.8, min_quality={"psnr": 32}).number == 2
    assert select(RESULT, target_speedup=1.8, min_quality={"ssim": 0.68}).number == 1
    assert select(RESULT, max_macs=67, min_quality={"psnr": 32}).number == 0


def test_a_quality_function_of_ones_own_is_chosen_by() -> None:
    result = study(trial(0, 2.0, 30, own=1.0), trial(1, 2.0, 28, own=2.0), metric="sharpness")
    assert select(result, target_speedup=2).number == 1
    assert [t.number for t in result.front()] == [1]
    assert select(result, target_speedup=2, min_quality={"psnr": 29}).number == 0
    assert select(result, min_quality={"sharpness": 1.5}).number == 1
    with pytest.raises(SearchError, match="has no quality 'clip'; it has psnr, ssim, sharpness"):
        select(result, min_quality={"clip": 1})
    with pytest.raises(SearchError, match="has no quality 'sharpness'; it has psnr, ssim"):
        select(RESULT, min_quality={"sharpness": 1})


def test_cost_may_be_time_on_a_device() -> None:
    seconds = CallSeconds(full=4.0, partial={0: 1.0, 1: 3.0}, num_calls=4)
    inner, outer = ("full", 1, 1, 1), ("full", 0, "full", 0)
    assert seconds.speedup(trial(0, 9.0, 30, calls=inner)) == 16 / 13
    assert seconds.speedup(trial(0, 9.0, 30, calls=outer[:2])) == 16 / 5  # fewer steps, against the reference's four
    assert seconds.speedup(trial(0, 9.0, 30, calls=inner, cut=1, went_on=1.5)) == 16 / 14.5
    result = study(
        trial(0, 2.0, 30, calls=inner), trial(1, 1.5, 20, calls=outer), trial(2, 1.1, 25, calls=("full",) * 4)
    )
    assert select(result, target_speedup=1.4).number == 0
    assert select(result, target_speedup=1.4, seconds=seconds).number == 1  # 1.6 times less time, for fewer saved MACs
    assert select(result, target_speedup=1.1, seconds=seconds).number == 0
    assert select(result, min_quality={"psnr": 20}, seconds=seconds).number == 1
    with pytest.raises(SearchError, match=r"the cheapest has psnr 20, 1\.60 times cheaper"):
        select(result, target_speedup=2, seconds=seconds)


def test_what_is_out_of_reach_says_what_is_within() -> None:
    with pytest.raises(SearchError, match=r"3.5 times cheaper; the cheapest has psnr 20, 3.00 times cheaper"):
        select(RESULT, target_speedup=3.5)
    with pytest.raises(SearchError, match=r"of at most 33 mean MACs; the cheapest .* with 33.33 mean MACs"):
        select(RESULT, max_macs=33)
    with pytest.raises(SearchError, match=r"has psnr 50 or more; the best has psnr 40, 1.50 times cheaper"):
        select(RESULT, min_quality={"psnr": 50})
    with pytest.raises(SearchError, match=r"has psnr 36 or more; the best has psnr 35, 2.10 times cheaper"):
        select(RESULT, target_speedup=2, min_quality={"psnr": 36})
    with pytest.raises(SearchError, match="nothing to choose by"):
        select(RESULT)
    with pytest.raises(SearchError, match="no finished schedule"):
        select(study(), min_quality={"psnr": 1})


def test_the_choice_is_on_the_front_of_the_studys_metric() -> None:
    result = study(trial(0, 2.0, 30, ssim=0.8), trial(1, 2.0, 28, ssim=0.9), metric="ssim")
    assert select(result, target_speedup=2).number == 1
    assert [t.number for t in result.front()] == [1]


def test_a_schedule_exactly_at_the_limit_is_within_it() -> None:
    macs = Macs(full=49_000_000, partial={0: 28_000_000}, counter="exact", sample_shape=(1, 8, 8))
    calls = ("full",) * 18 + (0,) * 21
    mean = macs.mean(Schedule.model_validate({"calls": list(calls)}))
    speedup = macs.full / mean
    assert speedup < 1.3 == 39 * 49 / (18 * 49 + 21 * 28)  # what rounding makes of it
    result = study(trial(0, 1.1, 40, mean_macs=macs.full / 1.1), trial(1, speedup, 30, calls=calls, mean_macs=mean))
    assert select(result, target_speedup=1.3).number == 1
    assert select(result, max_macs=math.nextafter(mean, 0)).number == 1
    with pytest.raises(SearchError, match=r"1.30001 times cheaper"):
        select(result, target_speedup=1.30001)
