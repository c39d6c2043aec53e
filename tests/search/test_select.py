from __future__ import annotations

from typing import Any

import pytest

from deepcadence.schedules import ModelInfo, SamplerInfo
from deepcadence.search import Metric, SearchError, StudyResult, TrialRecord, select


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


def study(*trials: TrialRecord, metric: Metric = "psnr") -> StudyResult:
    return StudyResult(
        study_name="s",
        metric=metric,
        trials=trials,
        failed=(),
        num_calls=2,
        steps=2,
        seeds=(0,),
        cuts=(0,),
        full_macs=100,
        partial_macs={0: 10},
        counter="exact",
        sample_shape=(3, 8, 8),
        model=ModelInfo(class_name="M"),
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


def test_min_psnr_takes_the_cheapest_that_is_good_enough() -> None:
    assert select(RESULT, min_psnr=30).number == 2
    assert select(RESULT, min_psnr=10).number == 3
    assert select(RESULT, min_psnr=38).number == 0


def test_both_wishes() -> None:
    assert select(RESULT, target_speedup=1.8, min_psnr=32).number == 2


def test_what_is_out_of_reach_says_what_is_within() -> None:
    with pytest.raises(SearchError, match=r"3.5 times cheaper; the cheapest is 3.00 times, at 20.00 dB"):
        select(RESULT, target_speedup=3.5)
    with pytest.raises(SearchError, match=r"reaches 50 dB; the best has 40.00 dB, at 1.50 times"):
        select(RESULT, min_psnr=50)
    with pytest.raises(SearchError, match=r"at least 2 times reaches 36 dB; the best has 35.00 dB"):
        select(RESULT, target_speedup=2, min_psnr=36)
    with pytest.raises(SearchError, match="nothing to choose by"):
        select(RESULT)
    with pytest.raises(SearchError, match="no finished schedule"):
        select(study(), min_psnr=1)


def test_the_choice_is_on_the_front_of_the_studys_metric() -> None:
    result = study(trial(0, 2.0, 30, ssim=0.8), trial(1, 2.0, 28, ssim=0.9), metric="ssim")
    assert select(result, target_speedup=2).number == 1
    assert [t.number for t in result.front()] == [1]
