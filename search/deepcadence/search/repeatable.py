"""What keeps the same command from giving the same study again."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from deepcadence.search.objective import is_alive, is_search
from deepcadence.search.storage import DROPPED, requeued

__all__ = ["also_run_with", "beside_others", "died", "words"]

_MOST = 20  # setups that a study keeps beside its last


def also_run_with(kept: Any, last: Any, now: Mapping[str, Any]) -> list[Any]:
    """The setups of a study other than `now`, once each: those kept so far, and the last if it was another."""
    earlier = [each for each in [*(kept if isinstance(kept, list) else []), last] if isinstance(each, dict)]
    found: list[Any] = []
    for each in earlier:
        if _differs(each, now) and not any(not _differs(each, other) for other in found):
            found.append(each)
    return found[-_MOST:]


def _differs(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """In what a figure may depend on: the command may be typed otherwise."""
    return any(one.get(key) != other.get(key) for key in ("versions", "machine"))


def beside_others(trials: Iterable[FrozenTrial]) -> int:
    """How many trials began before one that had begun earlier was finished."""
    spans = [(t.datetime_start, t.datetime_complete) for t in trials if t.datetime_start is not None]
    count, until = 0, datetime.datetime.min
    for start, end in sorted(spans, key=lambda span: span[0]):
        count += start < until
        until = max(until, end or start)
    return count


def died(trials: Iterable[FrozenTrial]) -> int:
    """How many trials ended without a result (stopped, killed, an error of the pipeline), and left a trace.

    A trial of the search that was queued again leaves none. Without that, the next one is another than it would have
    been; and a baseline or predicted schedule comes after those that waited behind it, which then know less.
    """
    found = list(trials)
    again = requeued(found)
    dead = [t for t in found if t.state == TrialState.FAIL and not is_alive(t) and DROPPED not in t.user_attrs]
    return sum(not (is_search(trial) and trial.number in again) for trial in dead)


def words(beside: int, earlier: int, died: int = 0) -> str | None:
    """What speaks against getting the same again, in a sentence; None if nothing does."""
    reasons = []
    if beside:
        count = f"{beside} trial{'s' * (beside > 1)}"
        reasons.append(f"{count} ran beside others, and what is proposed depends on what was finished before")
    if died:
        count = f"{died} trial{'s' * (died > 1)}"
        reasons.append(
            f"{count} ended without a result (stopped, killed, or an error), which may change what comes next"
        )
    if earlier:
        reasons.append("it was gone on with by other versions, or on another machine")
    return f"The same command need not give the same schedule again: {', and '.join(reasons)}." if reasons else None
