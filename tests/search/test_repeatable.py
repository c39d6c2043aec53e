"""What a study says of whether the same command would give it again."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from deepcadence.probe import Setup, Workload
from deepcadence.search import StudyResult, run_study
from deepcadence.search.objective import CANDIDATE, Objective
from deepcadence.search.repeatable import also_run_with, beside_others, died, words
from deepcadence.search.storage import DROPPED, ERROR, quiet, requeue
from tests import tiny

BEGAN = datetime(2026, 1, 1)


def trial(start: float | None, end: float | None) -> FrozenTrial:
    def at(seconds: float | None) -> datetime | None:
        return None if seconds is None else BEGAN + timedelta(seconds=seconds)

    state = TrialState.RUNNING if end is None else TrialState.COMPLETE
    values = None if end is None else [0.0, 0.0]
    found = FrozenTrial(0, state, None, None, None, {}, {}, {}, {}, {}, 0, values=values)
    found.datetime_start, found.datetime_complete = at(start), at(end)
    return found


@pytest.mark.parametrize(
    ("spans", "count"),
    [
        ([], 0),
        ([(0, 1), (1, 2), (None, None)], 0),
        ([(1, 2), (0, 1.5)], 1),
        ([(0, 10), (1, 2), (3, 4), (10, 11)], 2),
        ([(0, None), (1, 2)], 0),  # one that was killed, and not told yet
    ],
)
def test_trials_that_ran_beside_others(spans: list[tuple[float | None, float | None]], count: int) -> None:
    assert beside_others(trial(*span) for span in spans) == count


def test_setups_of_before_are_kept_once_each_where_they_are_others() -> None:
    one, two, three = ({"machine": name, "versions": {}, "command": name} for name in "abc")
    assert also_run_with(None, None, one) == []
    assert also_run_with(None, one, one | {"command": "x"}) == []
    assert also_run_with([], one, two) == [one]
    assert also_run_with([one], two, three) == [one, two]
    assert also_run_with([one], two, one) == [two]
    assert also_run_with("x", 3, one) == []
    many: list[Any] = [one | {"machine": str(n)} for n in range(40)]
    assert also_run_with(many, None, one) == many[-20:]


def test_a_study_notes_what_keeps_it_from_being_had_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workload = Workload(tiny.ddim_pipeline(), steps=4, seeds=(0, 1), batch_size=2)
    few: dict[str, Any] = {"max_uniform": 1, "max_published": 0, "max_predicted": 0, "fewer_steps": ()}

    def searched() -> StudyResult:
        return run_study(workload, storage=tmp_path / "study.db", trials=1, **few)

    assert searched().repeatable_words is None
    assert searched().repeatable_words is None
    now = Setup.now
    monkeypatch.setattr(Setup, "now", lambda command="": now(command).model_copy(update={"machine": "another"}))
    moved = searched()
    assert [setup.machine for setup in moved.earlier_setups] == [now().machine]
    assert moved.repeatable_words is not None
    assert "by other versions, or on another machine" in moved.repeatable_words
    study = optuna.load_study(study_name="deepcadence", storage=f"sqlite:///{tmp_path / 'study.db'}")
    first, second = study.ask(), study.ask()
    study.tell(first, state=TrialState.FAIL)
    study.tell(second, state=TrialState.FAIL)
    assert "1 trial ran beside others" in (StudyResult.from_study(study).repeatable_words or "")


def test_trials_that_died_and_left_a_trace() -> None:
    study = optuna.create_study(directions=("maximize", "minimize"))

    def ended(attributes: dict[str, Any], *, again: bool = False, state: TrialState = TrialState.FAIL) -> int:
        study.enqueue_trial({}, user_attrs=attributes)
        (waiting,) = (t for t in study.get_trials(states=(TrialState.WAITING,)) if t.user_attrs == attributes)
        with quiet():
            while study.ask().number != waiting.number:
                pass
            found = study.tell(waiting.number, state=state)
            if again:
                requeue(study, found)
        return died(study.get_trials())

    assert ended({}, state=TrialState.PRUNED) == 0
    assert ended({ERROR: {"label": "x", "error": "y"}}) == 0
    assert ended({DROPPED: "queued twice"}) == 0
    assert ended({}, again=True) == 0
    assert ended({CANDIDATE: {}}, again=True) == 1
    assert ended({}) == 2
    assert words(0, 0) is None
    assert "2 trials ended without a result" in (words(0, 0, 2) or "")


def test_predicted_schedules_that_are_not_tried_leave_a_study_repeatable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Objective, "_predicts", lambda *_: False)
    workload = Workload(tiny.ddim_pipeline(), steps=6, seeds=(0, 1), batch_size=2)
    result = run_study(workload, trials=1, max_uniform=1, max_published=0, max_predicted=2, fewer_steps=())
    assert "predicted" not in [trial.origin for trial in result.trials]
    assert result.repeatable_words is None
