from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from packaging.version import Version

from deepcadence.search import Sampler
from deepcadence.search.objective import CANDIDATE
from deepcadence.search.sampler import TrialSeeded
from deepcadence.search.storage import MAX_RETRIES, RACED_OUT, quiet, requeue

Values = tuple[float, float]


def values(trial: optuna.Trial) -> Values:
    """The best centers are at 10; a large interval is cheap."""
    interval, center = trial.suggest_int("interval", 2, 10), trial.suggest_int("center", 0, 49)
    trial.suggest_categorical("cut", (0,))  # one that says nothing
    return 50.0 - 2 * interval - abs(center - 10), 1 / interval


def searched(
    kind: Sampler, objective: Callable[[optuna.Trial], Values] = values, given_up: Values | None = None
) -> optuna.Study:
    """A baseline without all parameters, and eleven points of the search, the last of which was given up."""
    with quiet():
        study = optuna.create_study(directions=("maximize", "minimize"), sampler=TrialSeeded(kind))
        study.enqueue_trial({"interval": 2}, user_attrs={CANDIDATE: {}})
        study.optimize(lambda trial: (20.0, 0.5 * trial.suggest_int("interval", 2, 10)), n_trials=1)
        study.optimize(objective, n_trials=10)
        trial = study.ask()
        quality, macs = given_up or objective(trial)
        values(trial)
        trial.set_user_attr(RACED_OUT, {"quality": quality, "mean_macs": macs})
        study.tell(trial, state=TrialState.PRUNED)
    return study


def proposals(study: optuna.Study, kind: Sampler, count: int = 6) -> list[dict[str, Any]]:
    """What would be tried next, in this order."""
    with quiet():
        again = optuna.load_study(study_name=study.study_name, storage=study._storage, sampler=TrialSeeded(kind))
        before = len(again.get_trials())
        again.optimize(values, n_trials=count)
    return [trial.params for trial in again.get_trials()[before:]]


def test_the_gp_learns_from_the_search_and_finds_the_good_centers() -> None:
    found = proposals(searched("gp"), "gp")
    assert {len(params) for params in found} == {3}
    assert sum(abs(params["center"] - 10) <= 3 for params in found) >= 4


@pytest.mark.parametrize("kind", ["gp", "tpe"])
def test_the_same_study_gets_the_same_proposals_and_another_one_others(kind: Sampler) -> None:
    def reversed_values(trial: optuna.Trial) -> Values:
        quality, macs = values(trial)
        return -quality, macs

    found = proposals(searched(kind), kind, 2)
    assert found == proposals(searched(kind), kind, 2)
    assert found != proposals(searched(kind, reversed_values), kind, 2)


def test_the_gp_sees_what_was_given_up() -> None:
    good, bad = (proposals(searched("gp", given_up=(quality, 0.3)), "gp", 1) for quality in (60.0, 0.0))
    assert good != bad


@pytest.mark.skipif(
    Version(version("optuna")) < Version("5"), reason="the GP of Optuna 4 does not look at running trials"
)
def test_the_gp_sees_what_others_run() -> None:
    known = proposals(searched("gp"), "gp", 1)[0]
    found = []
    for params in (known, {"interval": 10, "center": 49, "cut": 0}):
        study = searched("gp")
        study.add_trial(
            optuna.create_trial(
                state=TrialState.RUNNING, params=params, distributions=study.get_trials()[-1].distributions
            )
        )
        found.append(proposals(study, "gp", 1))
    assert found[0] != found[1]


def drawn(study: optuna.Study, count: int = 1) -> list[optuna.Trial]:
    """Trials that are being run, the parameters of each drawn as it begins."""
    trials = []
    for _ in range(count):
        with quiet():
            trials.append(study.ask())
        values(trials[-1])
    return trials


def fresh(kind: Sampler = "gp") -> optuna.Study:
    with quiet():
        return optuna.create_study(directions=("maximize", "minimize"), sampler=TrialSeeded(kind))


def failed(study: optuna.Study, trial: optuna.Trial, *, again: bool) -> None:
    found = study.tell(trial, state=TrialState.FAIL)
    if again:
        requeue(study, found)


@pytest.mark.parametrize("kind", ["gp", "tpe"])
def test_trials_after_one_that_was_queued_again_are_those_of_a_whole_study(kind: Sampler) -> None:
    whole = [trial.params for trial in drawn(fresh(kind), 4)]
    study = fresh(kind)
    before = drawn(study, 2)
    failed(study, before[1], again=True)
    again = drawn(study, 3)
    assert [before[0].params, *(trial.params for trial in again)] == whole
    assert again[0].number == 2

    study = fresh(kind)
    before = drawn(study, 2)
    failed(study, before[1], again=False)
    assert [trial.params for trial in drawn(study, 2)] == whole[2:]  # it is not tried again


def test_workers_propose_different_things_after_one_of_them_died() -> None:
    study = fresh()
    victim, other = drawn(study, 2)
    with quiet():
        early = study.ask()  # begun before the trial of the dead worker was queued again
    failed(study, victim, again=True)
    values(early)
    found = [other, early, *drawn(study, 3)]
    assert len({tuple(trial.params.values()) for trial in found}) == 5


def test_a_trial_that_dies_every_time_is_left_behind() -> None:
    study = fresh()
    tried = []
    for _ in range(MAX_RETRIES + 2):
        (trial,) = drawn(study)
        tried.append(trial.params)
        failed(study, trial, again=True)
    assert tried[: MAX_RETRIES + 1] == [tried[0]] * (MAX_RETRIES + 1)
    assert tried[-1] != tried[0]
