"""A database server that is away for a while, as when it is restarted, does not end a study."""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.exc import OperationalError, PendingRollbackError, SQLAlchemyError

PATIENCE = 600.0
"""Seconds for which operations are tried again."""

_PAUSE = 1.0
_LOST = (OperationalError, PendingRollbackError)  # the latter where a transaction goes on after the former
_thread = threading.local()
_log = logging.getLogger(__name__)


class PatientStorage(RDBStorage):
    """An `RDBStorage` whose operations are tried again while the server does not answer.

    To do so is safe even where the server did its part before the answer was lost: attributes and heartbeats are
    written over by themselves, a queued trial that is there twice is dropped by the objective, and a trial that nobody
    runs is found by `requeue_dead`.
    """

    away_since: float | None = None

    def record_heartbeat(self, trial_id: int) -> None:
        """One heartbeat that fails is left out: the next one follows, and four must be missing."""
        with contextlib.suppress(StorageInternalError, OperationalError):
            super().record_heartbeat(trial_id)


def _patient(operation: Callable[..., Any]) -> Callable[..., Any]:
    """Tried again as a whole: what it calls in its turn belongs to its transaction, which is broken by then."""

    @functools.wraps(operation)
    def patient(self: PatientStorage, *args: Any, **kwargs: Any) -> Any:
        if getattr(_thread, "inside", False):
            return operation(self, *args, **kwargs)
        while True:
            _thread.inside = True
            try:
                result = operation(self, *args, **kwargs)
            except (StorageInternalError, *_LOST) as error:
                if not _wait(self, error):
                    raise
            else:
                self.away_since = None
                return result
            finally:
                _thread.inside = False

    return patient


def _wait(storage: PatientStorage, error: Exception) -> bool:
    """Wait a little, if the connection failed, and not for too long already; what comes next begins a new session."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    if not isinstance(cause, _LOST):
        return False
    now = time.monotonic()
    if storage.away_since is None:
        storage.away_since = now
        reason = str(getattr(cause, "orig", cause)).partition("\n")[0]
        _log.warning("the database does not answer (%s); trying again for %.0f minutes", reason, PATIENCE / 60)
    if now - storage.away_since > PATIENCE:
        return False
    time.sleep(_PAUSE)
    with contextlib.suppress(SQLAlchemyError):
        storage.scoped_session.remove()
    return True


for _name, _operation in vars(RDBStorage).items():
    if inspect.isfunction(_operation) and not _name.startswith("__") and _name not in vars(PatientStorage):
        setattr(PatientStorage, _name, _patient(_operation))
