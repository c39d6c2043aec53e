from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from deepcadence.probe import Workload
from deepcadence.search import Evaluator, StudyResult, run_study
from deepcadence.search.racing import LEVEL, in_laps, is_lost, looks, rival_of
from deepcadence.search.storage import open_storage, quiet
from tests import tiny

SMALL: dict[str, Any] = {"max_uniform": 4, "max_published": 0, "fewer_steps": (), "cuts": (0, 1), "max_predicted": 0}
TRIALS = 8


@pytest.fixture(scope="module")
def runners() -> Workload:
    """Sixteen seeds: the fewest that race, in four laps."""
    return Workload(tiny.ddim_pipeline(), steps=6, seeds=tuple(range(16)), batch_size=8)


@pytest.fixture(scope="module")
def raced(runners: Workload) -> StudyResult:
    return run_study(runners, trials=TRIALS, **SMALL)


def test_trials_that_are_given_up_are_worse_than_a_schedule_that_costs_no_more(
    raced: StudyResult, runners: Workload
) -> None:
    assert raced.raced_out
    assert {trial.origin for trial in raced.raced_out} == {"nonuniform"}  # what is compared with is measured in full
    assert len(raced.trials) + len(raced.raced_out) == 4 + 4 + TRIALS
    assert not {trial.number for trial in raced.trials} & {trial.number for trial in raced.raced_out}
    evaluator = Evaluator(runners.replace(batch_size=4))
    for trial in raced.raced_out:
        rival = raced.trial(trial.rival)
        assert rival.mean_macs <= trial.mean_macs
        assert trial.samples in (4, 8, 12)
        whole = evaluator.measure_candidate(trial).psnr.double()
        assert float(whole.mean()) < rival.psnr
        behind = np.mean(rival.psnr_samples[: trial.samples]) - float(whole[: trial.samples].mean())
        assert trial.behind == pytest.approx(behind, abs=1e-4)
        assert trial.behind > 0


def test_what_is_left_is_measured_on_all_seeds_and_savings_are_counted(raced: StudyResult) -> None:
    assert all(len(trial.psnr_samples) == 16 for trial in raced.trials)
    run = [trial for trial in raced.raced_out if trial.reused_from is None]
    known = [t for t in raced.trials if t.reused_from is not None] + [t for t in raced.raced_out if t not in run]
    part = sum(trial.samples / 16 for trial in run)
    assert raced.evaluations_saved == pytest.approx(len(known) + len(run) - part)
    assert f"{len(run)} were given up" in raced.savings_words
    whole = sum(trial.mean_macs - trial.macs_replayed for trial in raced.trials if trial.reused_from is None)
    part = sum(t.samples / 16 * (t.mean_macs - t.macs_replayed) for t in run)
    assert raced.search_cost == pytest.approx(1 + (whole + part) / raced.full_macs)
    for trial in raced.raced_out:
        if trial.reused_from is not None:
            first = next(t for t in raced.raced_out if t.number == trial.reused_from)
            assert (first.calls, first.order) == (trial.calls, trial.order)


def test_a_resumed_race_is_the_same_race_and_can_be_left(runners: Workload, raced: StudyResult, storage: Path) -> None:
    run_study(runners, storage=storage, trials=2, **SMALL)
    resumed = run_study(runners, storage=storage, trials=TRIALS, **SMALL)
    assert [(t.number, t.calls, t.samples) for t in resumed.raced_out] == [
        (t.number, t.calls, t.samples) for t in raced.raced_out
    ]
    with quiet():
        study = optuna.load_study(study_name="deepcadence", storage=open_storage(storage))
    states = {t.number: t.state for t in study.get_trials()}
    assert {states[trial.number] for trial in resumed.raced_out} == {optuna.trial.TrialState.PRUNED}
    assert {trial.number for trial in study.best_trials} <= {trial.number for trial in resumed.trials}
    more = run_study(runners, storage=storage, trials=TRIALS + 2, racing=False, **SMALL)
    assert more.raced_out == resumed.raced_out  # from now on every trial is measured on all seeds
    assert len(more.trials) == len(resumed.trials) + 2


def test_few_seeds_do_not_race(runners: Workload) -> None:
    few = Evaluator(runners.replace(seeds=tuple(range(15))))
    assert in_laps(few) is few
    assert looks(few.workload) == 0
    for given, used in ((8, 4), (2, 2)):
        evaluator = Evaluator(runners.replace(batch_size=given))
        assert in_laps(evaluator).workload.batch_size == used
        assert evaluator.workload.batch_size == given
    assert looks(runners.replace(batch_size=4)) == 3


def test_equals_are_seldom_given_up_and_the_much_worse_soon() -> None:
    generator = np.random.default_rng(0)
    given_up = 0
    for _ in range(1000):
        one, other = generator.normal(30, 2, (2, 16)).tolist()
        given_up += any(is_lost(one[:count], other, 3) for count in (4, 8, 12))
    assert given_up / 1000 < LEVEL
    worse = generator.normal(30, 2, 16)
    assert is_lost((worse - 3 + generator.normal(0, 0.5, 16))[:4].tolist(), worse.tolist(), 3)
    assert not is_lost((worse + 3)[:4].tolist(), worse.tolist(), 3)


def test_one_sample_says_nothing_and_equal_differences_everything() -> None:
    assert not is_lost([1.0], [2.0, 2.0], 3)
    assert is_lost([1.0, 1.0], [2.0, 2.0, 2.0], 3)
    assert not is_lost([2.0, 2.0], [2.0, 2.0, 2.0], 3)


def test_the_rival_is_the_best_schedule_that_costs_no_more() -> None:
    def record(psnr: float, macs: float, calls: Any = ("full", 0)) -> dict[str, Any]:
        return {"psnr": psnr, "mean_macs": macs, "calls": calls}

    records = [record(30, 5), record(28, 4), record(35, 6), record(40, 5, None)]
    assert rival_of(5, records, "psnr") == records[0]
    assert rival_of(4.5, records, "psnr") == records[1]
    assert rival_of(3, records, "psnr") is None
