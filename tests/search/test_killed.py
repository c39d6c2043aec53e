"""Workers that are killed, on SQLite and on PostgreSQL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from deepcadence.probe import Workload
from deepcadence.search import StudyResult, run_study
from deepcadence.search.objective import CANDIDATE
from deepcadence.search.storage import DROPPED, ERROR, RACED_OUT, RECORD, WORKER, open_storage, quiet
from deepcadence.search.workers import requeue_dead, this_worker
from tests import tiny
from tests.search.worker import SMALL, workload

ROOT = Path(__file__).parents[2]
TIMEOUT = 300
Outage = Callable[[], AbstractContextManager[None]]


def start(storage: str, trials: int | str, seconds: float, *together: Path) -> subprocess.Popen[bytes]:
    roots = [str(ROOT), *(str(ROOT / name) for name in ("schedules", "probe", "search"))]
    path = os.pathsep.join([*roots, os.environ.get("PYTHONPATH", "")])
    words = [sys.executable, "-m", "tests.search.worker", storage, *map(str, (trials, seconds, *together))]
    return subprocess.Popen(words, cwd=ROOT, env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"})


def trials_of(backend: BaseStorage) -> list[FrozenTrial]:
    with quiet():
        if "deepcadence" not in optuna.get_all_study_names(backend):
            return []
        return optuna.load_study(study_name="deepcadence", storage=backend).get_trials()


def kill_in_a_trial(backend: BaseStorage, worker: subprocess.Popen[bytes], finished: int) -> list[FrozenTrial]:
    """Kill the worker in the middle of a trial, once `finished` trials of the study are finished."""
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        trials = trials_of(backend)
        done = [t for t in trials if t.state == TrialState.COMPLETE]
        running = [t for t in trials if t.state == TrialState.RUNNING]
        if len(done) >= finished and any(t.user_attrs.get(WORKER, {}).get("pid") == worker.pid for t in running):
            worker.send_signal(signal.SIGKILL)
            worker.wait()
            return trials_of(backend)
        assert worker.poll() is None, "the worker ended too early"
        time.sleep(0.05)
    pytest.fail("the worker never got there")


def check_complete(result: StudyResult, backend: BaseStorage, trials: int) -> None:
    assert Counter(t.origin for t in result.trials) == {
        "uniform": 4,  # two held, two extrapolated
        "published": 1,
        "fewer_steps": 1,
        "nonuniform": trials,
    }
    assert result.failed == ()
    states = Counter(t.state for t in trials_of(backend))
    assert states[TrialState.RUNNING] == states[TrialState.WAITING] == 0
    baselines = [t.label for t in result.trials if t.origin != "nonuniform"]
    assert len(set(baselines)) == len(baselines)


def check_kept(before: list[FrozenTrial], backend: BaseStorage) -> None:
    after = {t.number: t for t in trials_of(backend)}
    for trial in before:
        if trial.state == TrialState.COMPLETE:
            assert after[trial.number] == trial


@pytest.mark.parametrize("finished", [2, 5], ids=["in-a-baseline", "in-the-search"])
def test_a_killed_study_on_sqlite_goes_on_where_it_was(storage: Path, finished: int) -> None:
    backend = open_storage(storage)
    worker = start(str(storage), 4, 2.0)
    try:
        before = kill_in_a_trial(backend, worker, finished)
    finally:
        worker.kill()
    running = [t for t in before if t.state == TrialState.RUNNING]
    assert len(running) == 1

    result = run_study(workload(), storage=storage, trials=4, **SMALL)

    check_complete(result, backend, 4)
    check_kept(before, backend)
    after = {t.number: t for t in trials_of(backend)}
    assert after[running[0].number].state == TrialState.FAIL
    again = [t for t in after.values() if t.system_attrs.get("failed_trial") == running[0].number]
    assert [t.state for t in again] == [TrialState.COMPLETE]
    assert again[0].params.items() >= running[0].params.items()
    assert again[0].user_attrs.get(CANDIDATE) == running[0].user_attrs.get(CANDIDATE)


def test_workers_share_a_study_on_postgresql_and_one_is_killed(postgresql_url: str) -> None:
    backend = open_storage(postgresql_url)
    victim, survivor = start(postgresql_url, 6, 2.0), start(postgresql_url, 6, 0.3)
    try:
        before = kill_in_a_trial(backend, victim, 1)
        assert survivor.wait(timeout=TIMEOUT) == 0
    finally:
        for worker in (victim, survivor):
            worker.kill()
            worker.wait()
    result = StudyResult.from_storage(postgresql_url)
    check_complete(result, backend, 6)
    check_kept(before, backend)
    assert run_study(workload(), storage=postgresql_url, trials=6, **SMALL) == result


class Stopped(Workload):
    """A study whose first run is stopped: begun, with nothing done."""

    def run(self, seeds: Any = None, *, steps: int | None = None) -> torch.Tensor:
        raise KeyboardInterrupt


def test_three_workers_of_which_one_is_killed_and_a_server_that_is_restarted(
    postgresql_url: str, postgresql_outage: Outage, tmp_path: Path
) -> None:
    backend = open_storage(postgresql_url)
    plain = workload()
    with pytest.raises(KeyboardInterrupt):
        run_study(Stopped(plain.pipeline, steps=6, seeds=(0, 1)), storage=postgresql_url, trials=6, **SMALL)
    workers = [start(postgresql_url, "join", 1.0, tmp_path) for _ in range(3)]
    victim, *others = workers
    try:
        before = kill_in_a_trial(backend, victim, 2)
        assert sum(t.state == TrialState.COMPLETE for t in before) < 12  # the others are in the middle of the study
        with postgresql_outage():
            time.sleep(3.0)  # longer than a trial: each finds no server when it wants to store its own
        assert [worker.wait(timeout=TIMEOUT) for worker in others] == [0, 0]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    result = StudyResult.from_storage(postgresql_url)
    check_complete(result, backend, 6)
    check_kept(before, backend)
    lost = [t.number for t in before if t.user_attrs.get(WORKER, {}).get("pid") == victim.pid]
    assert {t.number: t.state for t in trials_of(backend)}[lost[-1]] == TrialState.FAIL
    assert run_study(plain, storage=postgresql_url, trials=6, **SMALL) == result


def study_with_running_trial(worker: dict[str, object] | None) -> optuna.Study:
    study = optuna.create_study(directions=("maximize", "minimize"))
    study.enqueue_trial({}, user_attrs={CANDIDATE: {"label": "x"}})
    trial = study.ask()
    if worker is not None:
        trial.set_user_attr(WORKER, worker)
    return study


def test_trials_of_living_workers_and_of_other_machines_are_left_alone() -> None:
    for worker in (this_worker(), this_worker() | {"pid": os.getppid()}, this_worker() | {"place": "elsewhere"}):
        assert requeue_dead(study_with_running_trial(worker), grace=60) == 0
    assert requeue_dead(study_with_running_trial(None), grace=60) == 0


def test_trials_of_dead_workers_are_queued_again_but_not_for_ever() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    dead = this_worker() | {"pid": process.pid}
    study = study_with_running_trial(dead)
    for attempt in range(3):
        assert requeue_dead(study, grace=60) == 1
        waiting = study.get_trials(states=(TrialState.WAITING,))
        assert [t.user_attrs for t in waiting] == [{CANDIDATE: {"label": "x"}}], attempt
        study.ask().set_user_attr(WORKER, dead)
    assert requeue_dead(study, grace=60) == 1
    assert study.get_trials(states=(TrialState.WAITING,)) == []


def test_a_process_number_that_was_used_before_is_not_that_worker() -> None:
    assert requeue_dead(study_with_running_trial(this_worker() | {"token": "another"}), grace=60) == 1
    assert requeue_dead(study_with_running_trial(None), grace=-1) == 1


@pytest.mark.parametrize("noted", [ERROR, DROPPED])
def test_a_dead_trial_that_had_failed_for_good_is_not_queued_again(noted: str, storage: Path) -> None:
    study = study_with_running_trial(this_worker() | {"token": "another"})
    study._storage.set_trial_user_attr(study.get_trials()[0]._trial_id, noted, {})
    assert requeue_dead(study, grace=60) == 1
    assert [(t.state, noted in t.user_attrs) for t in study.get_trials()] == [(TrialState.FAIL, True)]

    backend = open_storage(storage, heartbeat=1)
    assert isinstance(backend, optuna.storages.RDBStorage)
    stale = backend.get_heartbeat_stale_trial_callback()
    assert stale is not None
    stale(study, study.get_trials()[0])
    assert len(study.get_trials()) == 1


def test_what_is_queued_again_is_as_if_it_had_not_been_run() -> None:
    study = study_with_running_trial(this_worker() | {"token": "another"})
    for name in (RECORD, RACED_OUT):
        study._storage.set_trial_user_attr(study.get_trials()[0]._trial_id, name, {})
    assert requeue_dead(study, grace=60) == 1
    assert study.get_trials(states=(TrialState.WAITING,))[0].user_attrs == {CANDIDATE: {"label": "x"}}


def test_a_worker_that_dies_once_it_noted_an_error_leaves_one_failed_trial(
    storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker names itself otherwise, so that it is taken for a dead one of this machine."""

    class Broken(Workload):
        runs = 0

        def run(self, seeds: Any = None, *, steps: int | None = None) -> torch.Tensor:
            Broken.runs += 1
            images = super().run(seeds, steps=steps)
            return images * float("nan") if Broken.runs == 2 else images

    def noted(trial: optuna.Trial, name: str, value: Any) -> None:
        keep(trial, name, value | {"token": "another"} if name == WORKER else value)
        if name == ERROR:
            raise SystemExit  # Optuna does not end the trial then

    few: dict[str, Any] = {**SMALL, "max_uniform": 1, "max_published": 0, "fewer_steps": (), "orders": (0,)}
    broken = Broken(tiny.ddim_pipeline(), steps=6, seeds=(0, 1), batch_size=2)
    keep = optuna.Trial.set_user_attr
    with monkeypatch.context() as patch:
        patch.setattr(optuna.Trial, "set_user_attr", noted)
        with pytest.raises(SystemExit):
            run_study(broken, storage=storage, trials=2, **few)
    assert [t.state for t in trials_of(open_storage(storage))] == [TrialState.RUNNING]

    result = run_study(broken, storage=storage, trials=2, **few)
    assert [trial.number for trial in result.failed] == [0]
    assert [trial.origin for trial in result.trials] == ["nonuniform"] * 2
    assert len(trials_of(open_storage(storage))) == 3
