"""Moving a schedule to another number of calls."""

from __future__ import annotations

from collections.abc import Sequence

from deepcadence.schedules.arguments import check_whole
from deepcadence.schedules.fields import MAX_CALLS, Call

__all__ = ["resample_calls"]


def resample_calls(calls: Sequence[Call], num_calls: int) -> tuple[Call, ...]:
    """Return `calls` for `num_calls` calls, by the rule that `Schedule.resample` states."""
    num_calls = check_whole("num_calls", num_calls, 1, MAX_CALLS)
    old = len(calls)
    cut_near = _nearest_cuts(calls)
    full = {index * num_calls // old for index, call in enumerate(calls) if call == "full"}
    return tuple("full" if index in full else cut_near[index * old // num_calls] for index in range(num_calls))


def _nearest_cuts(calls: Sequence[Call]) -> list[Call]:
    """Per call, its cut; for a full call that of the next partial call, else of the last one, else "full"."""
    result = list(calls)
    near: Call = next((call for call in reversed(calls) if call != "full"), "full")
    for index in reversed(range(len(calls))):
        near = near if calls[index] == "full" else calls[index]
        result[index] = near
    return result
