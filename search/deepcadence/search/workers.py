"""Telling trials of living workers from trials of dead ones."""

from __future__ import annotations

import datetime
import os
import socket
import sys
import uuid
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from deepcadence.search.storage import WORKER, requeue

_TOKEN = uuid.uuid4().hex


def this_worker() -> dict[str, Any]:
    """Names this process: where its number means something (host, boot, PID namespace), the number, and a token."""
    return {"place": _place(), "pid": os.getpid(), "token": _TOKEN}


def requeue_dead(study: optuna.Study, *, grace: int) -> int:
    """Fail the running trials whose process is gone and queue them again. Returns how many.

    A process of this machine is looked up; of others, the heartbeat in the storage decides, which stops when they
    die. A trial without a name died before it could give one, if it is older than `grace` seconds.
    """
    found = 0
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if not _dead(trial, grace):
            continue
        try:
            study.tell(trial.number, state=TrialState.FAIL)
        except (ValueError, optuna.exceptions.OptunaError):
            continue  # another worker was first
        requeue(study, trial)
        found += 1
    return found


def _dead(trial: FrozenTrial, grace: int) -> bool:
    worker = trial.user_attrs.get(WORKER)
    if not isinstance(worker, dict):
        started = trial.datetime_start
        return started is not None and datetime.datetime.now() - started > datetime.timedelta(seconds=grace)
    if worker["place"] != _place():
        return False
    if worker["pid"] == os.getpid():
        return bool(worker["token"] != _TOKEN)
    return not _alive(int(worker["pid"]))


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
