"""Telling trials of living workers from trials of dead ones."""

from __future__ import annotations

import datetime
import os
import socket
import sys
import uuid
from pathlib import Path
from typing import Annotated, Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deepcadence.search.storage import WORKER, requeue, requeued

_TOKEN = uuid.uuid4().hex


class Worker(BaseModel):
    """What `this_worker` says of a process."""

    model_config = ConfigDict(frozen=True, strict=True)

    place: str
    pid: Annotated[int, Field(gt=0, lt=2**31)]
    token: str


def this_worker() -> dict[str, Any]:
    """Names this process: where its number means something (host, boot, PID namespace), the number, and a token."""
    return Worker(place=_place(), pid=os.getpid(), token=_TOKEN).model_dump()


def requeue_dead(study: optuna.Study, *, grace: int) -> int:
    """Fail the running trials whose process is gone and queue them again, see `requeue`. Returns how many.

    A process of this machine is looked up; of others, the heartbeat in the storage decides, which stops when they
    die. A trial without a name died before it could give one, if it is older than `grace` seconds. A name that no
    worker gives belongs to none that lives.
    """
    found = 0
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if not _dead(trial, grace):
            continue
        try:
            failed = study.tell(trial.number, state=TrialState.FAIL)
        except (ValueError, optuna.exceptions.OptunaError):
            continue  # another worker was first
        requeue(study, failed)  # what it said last, which may be that it failed for good
        found += 1
    return found


def requeue_stopped(study: optuna.Study, number: int) -> None:
    """Queue a trial again that this worker failed since it was told to stop (Ctrl-C), see `requeue`."""
    trials = study.get_trials(deepcopy=False)
    if number not in requeued(trials):
        for trial in trials:
            if trial.number == number and trial.state == TrialState.FAIL:
                requeue(study, trial)


def _dead(trial: FrozenTrial, grace: int) -> bool:
    found = trial.user_attrs.get(WORKER)
    if found is None:
        started = trial.datetime_start
        return started is not None and datetime.datetime.now() - started > datetime.timedelta(seconds=grace)
    try:
        worker = Worker.model_validate(found)
    except ValidationError:
        return True
    if worker.place != _place():
        return False
    if worker.pid == os.getpid():
        return worker.token != _TOKEN
    return not _alive(worker.pid)


def _alive(pid: int) -> bool:
    if sys.platform == "win32":  # there os.kill would end it
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _state(pid) != "Z"


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return "?"


def _place() -> str:
    parts = [socket.gethostname()]
    try:
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))  # noqa: PTH115 - no path, an identifier
    except OSError:
        pass
    return " ".join(parts)
