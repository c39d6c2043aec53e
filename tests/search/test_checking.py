"""Studies that someone changed: going on with one, or joining it, ends in a sentence that names study and place."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest

from deepcadence.probe import Workload
from deepcadence.search import SearchError, StudyResult, TrialRecord, join_study, run_study
from deepcadence.search.candidates import Candidate
from deepcadence.search.settings import StudySettings
from deepcadence.search.workers import requeue_dead, this_worker
from tests.search.test_killed import study_with_running_trial
from tests.search.test_study import SMALL

Change = Callable[[Any], Any]


@pytest.fixture(scope="module")
def finished(workload: Workload, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("finished") / "study.db"
    run_study(workload, storage=path, trials=1, **SMALL)
    return path


@pytest.fixture
def study(finished: Path, tmp_path: Path) -> Path:
    """One that is complete, with one trial of the search."""
    return Path(shutil.copy(finished, tmp_path / "study.db"))


def changed(path: Path, table: str, key: str, change: Change) -> None:
    """Change the first attribute of that name, behind everyone's back."""
    with closing(sqlite3.connect(path)) as database:
        select, update = "SELECT rowid, value_json FROM", "UPDATE"
        found = database.execute(f"{select} {table} WHERE key = ?", (key,)).fetchone()
        text = json.dumps(change(json.loads(found[1])))
        database.execute(f"{update} {table} SET value_json = ? WHERE rowid = ?", (text, found[0]))
        database.commit()


def without(key: str) -> Change:
    return lambda value: {name: each for name, each in value.items() if name != key}


def having(**values: Any) -> Change:
    return lambda value: value | values


STUDY, TRIAL, SYSTEM = "study_user_attributes", "trial_user_attributes", "trial_system_attributes"


def refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(SearchError, match=message) as caught:
        call()
    assert "study 'deepcadence'" in str(caught.value)


CHANGES: list[tuple[str, str, Change, str]] = [
    (TRIAL, "candidate", lambda _: {"x": 1}, r"trial 0: candidate: origin: found nothing"),
    (TRIAL, "candidate", lambda _: "x", r'trial 0: candidate: top level: found "x", expected an object'),
    (TRIAL, "candidate", having(alpha=5), r"trial 0: candidate: alpha: found 5"),
    (
        TRIAL,
        "candidate",
        having(label="a\x1b[2J"),
        r'trial 0: candidate: label: found "a\\u001b\[2J", expected text on',
    ),
    (TRIAL, "candidate", having(origin="predicted"), r"trial 0: candidate: found a predicted schedule"),
    (TRIAL, "record", lambda _: {"x": 1}, r"trials\[0\]\.origin: found nothing"),
    (TRIAL, "record", lambda _: [], "cannot be read"),
    (TRIAL, "record", having(psnr="30"), r'trials\[0\]\.psnr: found "30"'),
    (TRIAL, "record", having(psnr_samples=[1.0]), r"trial 0: psnr_samples: found 1 values, expected 3"),
    (SYSTEM, "fixed_params", lambda _: [1], "trial 0: fixed_params: found a list, expected an object"),
    (STUDY, "deepcadence", lambda _: [1], "deepcadence: found a list, expected an object"),
]


@pytest.mark.parametrize(("table", "key", "change", "message"), CHANGES)
def test_changed_studies_are_neither_gone_on_with_nor_joined(
    workload: Workload, study: Path, table: str, key: str, change: Change, message: str
) -> None:
    changed(study, table, key, change)
    refused(lambda: run_study(workload, storage=study, trials=2, **SMALL), message)
    refused(lambda: join_study(workload.pipeline, study), message)


IDENTITIES: list[tuple[Change, str]] = [
    (lambda _: {}, r"deepcadence: model: found nothing"),
    (without("macs"), r"deepcadence: macs: found nothing"),
    (having(steps="x"), r'deepcadence: steps: found "x"'),
    (having(steps=10**9), r"deepcadence: steps: found 1000000000"),
    (having(seeds=[1, 1, 1]), r"seeds: found some twice"),
    (having(metric="a\x07"), r'deepcadence: metric: found "a\\u0007", expected text on one line'),
    (lambda value: value | {"space": value["space"] | {"x": [1]}}, r"deepcadence: space\.x: found an unknown key"),
    (lambda value: value | {"space": value["space"] | {"cuts": [99]}}, r"space\.cuts: found 99, expected cuts of macs"),
    (lambda value: value | {"space": value["space"] | {"intervals": [9, 2]}}, r"deepcadence: space: intervals are"),
    (lambda value: value | {"macs": value["macs"] | {"full": -1}}, r"deepcadence: macs\.full: found -1"),
]


@pytest.mark.parametrize(("change", "message"), IDENTITIES)
def test_what_a_study_is_about_is_checked_before_it_is_joined(
    workload: Workload, study: Path, change: Change, message: str
) -> None:
    changed(study, STUDY, "deepcadence", change)
    refused(lambda: join_study(workload.pipeline, study), message)
    with pytest.raises(SearchError, match="study 'deepcadence' was made with"):
        run_study(workload, storage=study, trials=2, **SMALL)


@pytest.mark.parametrize(
    "values",
    [{"seed": -(10**30)}, {"heartbeat": 0}, {"heartbeat": 10**18}, {"batch_size": -1}, {"max_uniform": -1},
     {"fewer_steps": [0, -1]}, {"target_speedup": float("nan")}, {"prompts": ["a\x1b[2J"]}, {"dtype": "a\nb"}],
)  # fmt: skip
def test_settings_are_checked_before_a_study_is_joined(workload: Workload, study: Path, values: dict[str, Any]) -> None:
    changed(study, STUDY, "settings", having(**values))
    refused(lambda: join_study(workload.pipeline, study), rf"the settings of study 'deepcadence': {next(iter(values))}")
    assert StudyResult.from_storage(study).trials


def test_settings_that_make_no_study_are_refused_at_once(workload: Workload, storage: Path) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"seed": -1}, "the settings of study 'deepcadence': seed: found -1"),
        ({"heartbeat": 0}, "the settings of study 'deepcadence': heartbeat: found 0"),
        ({"study_name": "a\x1b[2J"}, r'study_name: found "a\\u001b\[2J", expected text on one line'),
    ]
    for arguments, message in wrong:
        with pytest.raises(SearchError, match=message):
            run_study(workload, storage=storage, trials=0, **arguments)
    assert optuna.get_all_study_names(f"sqlite:///{storage}") == []


@pytest.mark.parametrize(
    "worker", [{"x": 1}, [], "x", {"pid": "x"}, {"pid": 10**30}, {"pid": 0}, {"pid": True}, {"token": 3}, {"place": {}}]
)
def test_a_worker_that_none_could_be_is_dead(worker: Any) -> None:
    name = this_worker() | worker if isinstance(worker, dict) and worker != {"x": 1} else worker
    assert requeue_dead(study_with_running_trial(name), grace=60) == 1


def sql(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as database:
        assert database.execute(statement).rowcount > 0
        database.commit()


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE study_user_attributes SET value_json = '{bad' WHERE key = 'setup'", "JSON|cannot be"),
        ("UPDATE study_directions SET direction = 'NOWHERE'", "NOWHERE"),
        ("UPDATE study_directions SET direction = 'MAXIMIZE'", "its directions are maximize, maximize, expected"),
        ("UPDATE trials SET state = 'ASLEEP' WHERE number = 1", "ASLEEP"),
        ("UPDATE trial_values SET value_type = 'INF_POS', value = NULL", r"values: found \[inf, inf\]"),
        ("UPDATE trial_params SET distribution_json = '[]'", "cannot be gone on with"),
    ],
)
def test_what_optuna_stumbles_over_is_an_error_of_the_study(
    workload: Workload, study: Path, statement: str, message: str
) -> None:
    sql(study, statement)
    refused(lambda: run_study(workload, storage=study, trials=2, **SMALL), message)


def test_values_that_a_queued_trial_cannot_take_end_the_study(workload: Workload, study: Path) -> None:
    sql(study, "UPDATE trials SET state = 'WAITING' WHERE number = 0")
    sql(study, "DELETE FROM trial_params WHERE trial_id = (SELECT trial_id FROM trials WHERE number = 0)")
    changed(study, SYSTEM, "fixed_params", having(interval="x"))
    refused(lambda: run_study(workload, storage=study, trials=2, **SMALL), "cannot be gone on with: ValueError")


def test_fields_of_older_records_may_be_missing(workload: Workload, study: Path) -> None:
    for key in ("order", "reused_from", "spacing", "own"):
        changed(study, TRIAL, "record", without(key))
    assert len(run_study(workload, storage=study, trials=2, **SMALL).trials) == 8


def test_texts_of_a_study_are_on_one_line(study: Path) -> None:
    result = StudyResult.from_storage(study)
    for name in ("study_name", "metric", "fingerprint"):
        with pytest.raises(ValueError, match="expected text on one line"):
            StudyResult.model_validate(result.model_dump(by_alias=True) | {name: "a\x1b[2J"})
    for kind, name in ((Candidate, "label"), (Candidate, "spacing"), (TrialRecord, "label")):
        fields = result.trials[0].model_dump(include=set(kind.model_fields))
        with pytest.raises(ValueError, match="expected text on one line"):
            kind.model_validate(fields | {name: "a\u202eb"})
    opened = optuna.load_study(study_name="deepcadence", storage=f"sqlite:///{study}")
    trial = opened.ask()
    trial.set_user_attr("error", {"label": "x", "error": "two\nlines \x1b[2J"})
    opened.tell(trial, state=optuna.trial.TrialState.FAIL)
    assert StudyResult.from_storage(study).failed[0].error == "two\\nlines \\x1b[2J"


def test_prompts_may_have_lines_and_joined_emoji(study: Path) -> None:
    prompts = ["two\nlines", "a \U0001f469\u200d\U0001f680 in space", "a\ttab"]
    changed(study, STUDY, "settings", having(prompts=prompts))
    assert StudySettings.from_storage(study).prompts == tuple(prompts)
