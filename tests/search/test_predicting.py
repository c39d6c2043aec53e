from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scipy.stats import spearmanr

import deepcadence.search.agreement as agreement_module
import deepcadence.search.study as study_module
from deepcadence.probe import ProfileError, Workload, count_macs
from deepcadence.search import PredictorInfo, SearchSpace, StudyResult, baselines, run_study
from deepcadence.search import predicting as predicting_module
from deepcadence.search.agreement import Agreement, words
from deepcadence.search.predicting import predict

SMALL: dict[str, Any] = {"trials": 1, "max_uniform": 9, "max_published": 1, "fewer_steps": (3,), "cuts": (0, 1, 2)}


def test_a_study_tries_the_predicted_front(workload: Workload, storage: Path) -> None:
    phases: list[str] = []
    result = run_study(
        workload, storage=storage, max_predicted=5, progress=lambda phase, *_: phases.append(phase), **SMALL
    )
    assert list(dict.fromkeys(phases)) == ["predictor", "baselines", "reference", "predicted", "search"]
    predicted = [trial for trial in result.trials if trial.origin == "predicted"]
    assert 2 <= len(predicted) <= 5
    generators = [trial.schedule().generator for trial in predicted]
    assert all(generator is not None and generator.name == "predicted" for generator in generators)
    info = result.predictor
    assert info is not None
    assert [candidate.label for candidate in info.proposed] == [trial.label for trial in predicted]
    assert (info.samples, info.problem) == (2, None)
    known = [trial for trial in result.trials if trial.key in info.predicted]
    assert {trial.origin for trial in known} >= {"uniform", "published", "predicted"}

    by_key = {trial.key: trial.psnr for trial in known}
    found = result.agreement
    assert found is not None
    assert found.n == len(by_key)
    assert found.spearman == pytest.approx(spearmanr([info.predicted[key] for key in by_key], [*by_key.values()])[0])
    run = sum(trial.mean_macs - trial.macs_replayed for trial in result.trials if trial.reused_from is None)
    assert result.search_cost == pytest.approx(1 + info.runs + run / result.full_macs)
    assert info.runs > 1

    phases.clear()
    again = run_study(
        workload, storage=storage, max_predicted=5, progress=lambda phase, *_: phases.append(phase), **SMALL
    )
    assert again == result
    assert "predictor" not in phases  # not measured twice
    assert StudyResult.from_storage(storage) == result


def test_a_predictor_that_ranks_badly_is_not_used(
    workload: Workload, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The honest predictions with the sign turned: the cheapest baselines are said to be the best."""

    def upside_down(*arguments: Any, **options: Any) -> PredictorInfo:
        info = predict(*arguments, **options)
        return info.model_copy(update={"predicted": {key: -value for key, value in info.predicted.items()}})

    monkeypatch.setattr(study_module, "predict", upside_down)
    monkeypatch.setattr(agreement_module, "FEWEST", 4)
    result = run_study(workload, storage=storage, max_predicted=5, **SMALL)
    assert result.agreement is not None
    assert not result.agreement.usable
    assert not [trial for trial in result.trials if trial.origin == "predicted" and trial.reused_from is None]
    assert [trial.origin for trial in result.trials].count("nonuniform") == 1  # the study went on
    assert "not tried further" in str(result.predictor_words)
    assert run_study(workload, storage=storage, max_predicted=5, **SMALL) == result


def test_a_study_resumed_with_another_target_is_predicted_for_it_too(workload: Workload, storage: Path) -> None:
    def run(target: float | None) -> StudyResult:
        return run_study(workload, storage=storage, max_predicted=2, target_speedup=target, **SMALL)

    first, second = run(None), run(1.5)
    new = second.trials[len(first.trials) :]
    assert new
    assert all(trial.origin == "predicted" and trial.label.startswith("predicted for 1.5x, 1") for trial in new[:1])
    assert all(1.5 <= trial.speedup < 2.5 and trial.reused_from is None for trial in new)
    keys = [trial.key for trial in second.trials if trial.origin == "predicted"]
    assert len(set(keys)) == len(keys)
    assert first.predictor is not None
    assert second.predictor is not None
    assert second.predictor.targets == (None, 1.5)
    assert second.predictor.runs == pytest.approx(2 * first.predictor.runs)  # it is measured again, which counts
    assert run(1.5) == second
    assert run(None) == second


def test_a_predictor_that_cannot_be_measured_leaves_a_study_alone(
    workload: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise ProfileError("found an output that is not finite")

    monkeypatch.setattr(predicting_module, "measure_effects", fails)
    result = run_study(workload, max_predicted=5, **SMALL)
    assert result.predictor is not None
    assert result.predictor_words == "No schedules were predicted: found an output that is not finite"
    assert result.agreement is None
    assert len(result.trials) > 3


def test_predictions_are_of_the_cuts_that_save_enough(workload: Workload) -> None:
    macs = count_macs(workload.pipeline.unet)
    dear = [cut for cut, cost in macs.partial.items() if cost > 0.6 * macs.full]
    space = SearchSpace.default(6, 6, dear)
    assert "no cut saves more than 40%" in str(predict(workload, space, macs, 3, [], None).problem)
    space = SearchSpace.default(6, 6, [0, *dear])
    known = baselines(space)
    info = predict(workload, space, macs, 3, known, None)
    assert all(set(candidate.calls or ()) <= {"full", 0} for candidate in info.proposed)
    assert {candidate.key for candidate in known if candidate.cut == 0} <= set(info.predicted)
    assert not {candidate.key for candidate in known if candidate.cut in dear} & set(info.predicted)


def test_the_outcome_in_words() -> None:
    info = PredictorInfo(samples=2, runs=1.25)
    assert words(info, None).startswith("Too few schedules were measured")
    good = words(info, Agreement(spearman=0.953, n=30))
    assert "30 schedules" in good
    assert "0.95" in good
    assert "1.2 plain generations" in good
    assert "below 0.7" not in good
    assert "below 0.7" in words(info, Agreement(spearman=0.5, n=30))
    assert Agreement(spearman=0.5, n=7).usable  # too few to say


def test_rank_correlation_of_what_does_not_vary_is_none() -> None:
    info = PredictorInfo(predicted={"a": 1.0, "b": 1.0, "c": 1.0})
    found = info.agreement({"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0})
    assert found == Agreement(spearman=0.0, n=3)
    assert info.agreement({"a": 1.0, "b": 2.0}) is None


def test_a_target_out_of_reach_has_nothing_to_predict(workload: Workload) -> None:
    macs = count_macs(workload.pipeline.unet)
    target = 1.01 * 6 * macs.full / (macs.full + 5 * macs.partial[0])
    info = predict(workload, SearchSpace.default(6, 6, (0,)), macs, 2, [], None, target, again=True)
    assert (info.problem, info.proposed, info.predicted, info.targets) == (None, (), {}, (target,))
