"""Where a study lives: memory, an SQLite file, or any database that Optuna speaks to."""

from __future__ import annotations

import copy
import functools
import logging
import os
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, ProgrammingError, SQLAlchemyError

from deepcadence.search.addresses import shown
from deepcadence.search.errors import SearchError
from deepcadence.search.patience import PatientStorage
from deepcadence.search.sqlite_file import LOCKED_SECONDS, Connection, check_sqlite

IDENTITY = "deepcadence"
"""Study attribute: what the study is about, see `identity`."""
SETTINGS = "settings"
"""Study attribute: what a worker must know to take part, see `settings`."""
SETUP = "setup"
"""Study attribute: with which command and versions it was last run, see `Setup`."""
EARLIER = "earlier_setups"
"""Study attribute: the setups of before that are others in versions or machine, see `repeatable`."""
PREDICTOR = "predictor"
"""Study attribute: what was predicted, see `agreement`."""
RECORD = "record"
"""Trial attribute: what was run and measured, written in one piece."""
RACED_OUT = "raced_out"
"""Trial attribute of a trial that was given up: what was run, and what was seen of it, see `racing`."""
ERROR = "error"
"""Trial attribute of a trial that failed for good: its label, and why."""
DROPPED = "dropped"
"""Trial attribute of a trial that does not count: why."""
WORKER = "worker"
"""Trial attribute: which process runs it, see `workers`."""

MAX_RETRIES = 3
"""How often a trial whose worker died is queued again; it may be what kills workers."""

_RETRIES = "retry_history"  # where `RetryHeartbeatStaleTrialCallback` notes which trials a trial repeats
_OPENINGS = 5
_HEARTBEAT = 30


def open_storage(storage: str | Path | None, *, heartbeat: int = _HEARTBEAT) -> BaseStorage:
    """A storage for studies. One on a server is a `PatientStorage`, which outlives a restart of the server.

    Args:
        storage: None for memory; a path for an SQLite file; or a database URL, such as `sqlite:///study.db` or
            `postgresql+psycopg://user@host/database`.
        heartbeat: seconds between the heartbeats of a worker, which counts as dead after four of them missed.

    Raises:
        SearchError: the URL is malformed, its driver is not installed, the database does not answer, or the SQLite
            file is none that a study leaves, see `check_sqlite`.
    """
    if storage is None:
        return InMemoryStorage()
    url = storage_url(storage)
    file = _sqlite_file(url)
    if file is not None and _is_file(file):
        check_sqlite(file)
    return _connected(url, heartbeat)


def _connected(url: str, heartbeat: int) -> BaseStorage:
    """The storage of a URL whose file, if it is one, was checked."""
    options: dict[str, Any] = {"pool_pre_ping": True}
    if url.startswith("sqlite"):
        options["connect_args"] = {"timeout": LOCKED_SECONDS, "factory": Connection}
    try:
        with quiet():
            return _opened(url, options, heartbeat)
    except ImportError as error:
        raise SearchError(
            f"{shown(url)}: the database driver is not installed ({error}); for PostgreSQL use a URL that begins with "
            "postgresql+psycopg:// and install with: pip install 'psycopg[binary]'"
        ) from error
    except Exception as error:  # of the database, of Optuna, of its migrations
        raise SearchError(f"{shown(url)}: cannot open the storage: {reason(error)}") from error


def _opened(url: str, options: dict[str, Any], heartbeat: int) -> RDBStorage:
    """The storage, its tables made; more than one process may do that at once."""
    make = functools.partial(
        RDBStorage if url.startswith("sqlite") else PatientStorage,
        url,
        engine_kwargs=options,
        heartbeat_interval=heartbeat,
        grace_period=4 * heartbeat,
        heartbeat_stale_trial_callback=requeue,
    )
    for _ in range(_OPENINGS - 1):
        try:
            return make()
        except (IntegrityError, ProgrammingError):  # another process made the same table
            time.sleep(0.5)
    return make()


def storage_url(storage: str | Path) -> str:
    """The URL of a storage: URLs as they are, paths as an SQLite file.

    Raises:
        SearchError: the folder of an SQLite file does not exist.
    """
    text = str(storage)
    url = text if isinstance(storage, str) and "://" in text else f"sqlite:///{Path(text)}"
    file = _sqlite_file(url)
    if file is not None and not os.path.isdir(file.parent):  # noqa: PTH112 - `Path.is_dir` raises for a name too long
        raise SearchError(f"{shown(text)}: the folder {shown(str(file.parent))} does not exist; create it first")
    return url


@contextmanager
def reading(storage: str | Path, study_name: str) -> Iterator[optuna.Study]:
    """A study that exists, to look at; its connections are closed afterwards.

    Raises:
        SearchError: there is no such storage or study.
    """
    url = storage_url(storage)
    file = _sqlite_file(url)
    if file is not None:
        if not _is_file(file):
            raise SearchError(f"{file}: no such file; expected a study that `run_study` wrote")
        if "studies" not in check_sqlite(file):
            raise SearchError(f"{file}: found no table of studies, expected a study that `run_study` wrote")
    backend = _connected(url, _HEARTBEAT)
    try:
        with quiet():
            if study_name not in (names := sorted(optuna.get_all_study_names(backend))):
                found = ", ".join(repr(name[:60]) for name in names[:10]) or "none"
                raise SearchError(f"{shown(url)} holds no study {study_name!r}; it holds: {found}")
            yield optuna.load_study(study_name=study_name, storage=backend)
    except SearchError:
        raise
    except Exception as error:  # Optuna takes what is stored at its word
        raise SearchError(f"{shown(url)}: the study cannot be read: {reason(error)}") from error
    finally:
        close(backend)


def reason(error: Exception) -> str:
    """The first line of an error of a library, with its kind."""
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')[:300]}"


def close(storage: BaseStorage) -> None:
    """Close the connections to a database; an operation would open new ones."""
    if isinstance(storage, RDBStorage):
        storage.remove_session()
        storage.engine.dispose()


def requeue(study: optuna.Study, trial: FrozenTrial) -> None:
    """Queue a trial again whose worker died or was stopped, with the same parameters, `MAX_RETRIES` times at most.

    One that had failed for good by then, or was dropped, is not. The new one is as if nothing of it had been run.
    """
    if ERROR in trial.user_attrs or DROPPED in trial.user_attrs:
        return
    again = copy.deepcopy(trial)
    for name in (RECORD, RACED_OUT, WORKER):  # with the last, it would look like a dead one's until the next one signs
        again.user_attrs.pop(name, None)
    with quiet():
        RetryHeartbeatStaleTrialCallback(max_retry=MAX_RETRIES)(study, again)


def requeued(trials: Iterable[FrozenTrial]) -> set[int]:
    """Numbers of the trials that were queued again, as other trials."""
    histories = (trial.system_attrs.get(_RETRIES) for trial in trials)
    return {number for each in histories if isinstance(each, list) for number in each if isinstance(number, int)}


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Optuna from logging and from warning that heartbeats are experimental, and put it back as it was."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


@contextmanager
def failures_named(study_name: str) -> Iterator[None]:
    """`SearchError` for a database that fails: a full disk, one that may not be written, one away for too long."""
    try:
        yield
    except (optuna.exceptions.StorageInternalError, SQLAlchemyError) as error:
        raise SearchError(
            f"the database of study {study_name!r} failed, or was away for too long: "
            f"{str(error.__cause__ or error).splitlines()[0]}. What was finished before is kept: run the same again"
        ) from error


def _sqlite_file(url: str) -> Path | None:
    """The file of an SQLite URL; None for other databases, and for SQLite in memory."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise SearchError(f"{shown(url)!r} is no database URL; expected such as sqlite:///study.db") from error
    if parsed.get_backend_name() != "sqlite" or parsed.database in (None, "", ":memory:"):
        return None
    if "uri" in parsed.query:
        raise SearchError(
            f"{shown(url)}: found a URI of SQLite; expected the path of its file, as in sqlite:///study.db"
        )
    return Path(str(parsed.database))


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113 - `Path.is_file` raises for a name too long
