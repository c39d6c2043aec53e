"""A quality function of one's own, from the study to the held-out figure."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from deepcadence.probe import Workload
from deepcadence.schedules import Schedule
from deepcadence.search import (
    Evaluator,
    QualityFunction,
    SearchError,
    StudyResult,
    export_front,
    finalize,
    join_study,
    run_study,
    select,
)
from deepcadence.search.quality import own_quality
from tests import tiny
from tests.search.test_study import SMALL

asked: list[tuple[str, ...]] = []


def closeness(images: Tensor, reference: Tensor, prompts: tuple[str, ...]) -> Tensor:
    asked.append(prompts)
    return 1 - (images - reference).abs().amax(dim=(1, 2, 3))


def test_from_the_study_to_the_held_out_figure(workload: Workload, storage: Path, tmp_path: Path) -> None:
    study = run_study(workload, storage=storage, trials=1, metric=closeness, **SMALL)
    assert study.metric == "closeness"
    for trial in study.trials:
        assert trial.own_samples is not None
        assert len(trial.own_samples) == 3
        assert study.quality(trial) == trial.own == pytest.approx(sum(trial.own_samples) / 3)
    values = [study.quality(trial) for trial in study.front()]
    assert values == sorted(values)
    assert StudyResult.from_storage(storage) == study
    assert run_study(workload, storage=storage, trials=1, metric=closeness, **SMALL) == study
    assert join_study(tiny.ddim_pipeline(), storage, quality=closeness) == study

    chosen = select(study, target_speedup=1.1)
    held_out = finalize(workload, study, chosen, seeds=(8, 9), target_speedup=1.1, quality=closeness)
    assert held_out.chosen.own is not None
    assert held_out.fewer_steps is not None
    assert held_out.fewer_steps.own is not None
    assert held_out.fewer_steps.own_difference is not None
    assert held_out.fewer_steps.own_difference.mean == pytest.approx(
        held_out.chosen.own.mean - held_out.fewer_steps.own.mean, abs=1e-6
    )
    assert [quality.metric for quality in held_out.schedule.quality or ()] == ["psnr", "ssim", "closeness"]
    (path, *_) = export_front(workload, study, tmp_path / "front", seeds=(8, 9), quality=closeness)
    assert [quality.metric for quality in Schedule.load(path).quality or ()] == ["psnr", "ssim", "closeness"]
    assert set(asked) == {()}

    for forgotten in (None, other):
        with pytest.raises(SearchError, match=r"quality is 'closeness': found .*, expected the function 'closeness'"):
            finalize(workload, study, chosen, seeds=(8, 9), quality=forgotten)
        with pytest.raises(SearchError, match="expected the function 'closeness'"):
            join_study(tiny.ddim_pipeline(), storage, quality=forgotten)
    with pytest.raises(SearchError, match="another metric"):
        run_study(workload, storage=storage, trials=1, **SMALL)


def other(images: Tensor, reference: Tensor, prompts: tuple[str, ...]) -> Tensor:
    return torch.zeros(len(images))


def test_prompts_are_those_of_the_images() -> None:
    workload = Workload(None, seeds=(1, 4, 2), prompts=("a", "b"))
    assert Evaluator(workload)._prompts(3) == ("b", "a", "a")
    assert Evaluator(workload)._prompts(2) == ("b", "a")  # a measurement that was stopped


def test_what_is_no_quality(result: StudyResult, workload: Workload) -> None:
    images = torch.zeros(2, 3, 4, 4)
    for wrong in (torch.zeros(3), torch.zeros(2, 1), torch.tensor(0.0), torch.tensor([0.0, float("nan")])):
        with pytest.raises(SearchError, match=r"'wrong' gave values of shape .*; expected \(2,\), all finite"):
            own_quality(named("wrong", wrong), images, images, ())
    with pytest.raises(SearchError, match="called 'psnr', as one of ours"):
        run_study(workload, trials=0, metric=named("psnr", images))
    with pytest.raises(SearchError, match="no metric 'lpips'; expected psnr, ssim, or a function"):
        run_study(workload, trials=0, metric="lpips")  # type: ignore[arg-type]
    with pytest.raises(SearchError, match="quality is 'psnr': found other, expected no function"):
        finalize(workload, result, select(result, target_speedup=1.1), seeds=(8, 9), quality=other)


def named(name: str, values: Tensor) -> QualityFunction:
    def function(images: Tensor, reference: Tensor, prompts: tuple[str, ...]) -> Tensor:
        return values

    function.__name__ = name
    return function
