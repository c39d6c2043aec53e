"""Improving schedules by small changes: full calls shifted, added and dropped, cuts changed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from deepcadence.search.predictor import FULL, Calls, Floats


def climb(start: Calls, score: Callable[[Calls], Floats], cuts: int, *, rounds: int = 60) -> Calls:
    """Take the best small change as long as one helps, or for `rounds` rounds.

    Args:
        start: a schedule, (T,): `FULL`, or the place of a cut.
        score: of schedules (n, T), the higher the better.
        cuts: how many cuts there are.
        rounds: bounds the time.

    Returns:
        A schedule whose score no single change raises, and which is at least that of `start`.
    """
    best, value = start, float(score(start[None])[0])
    for _ in range(rounds):
        near = neighbours(best, cuts)
        if not len(near):
            break
        values = score(near)
        top = int(values.argmax())
        if not values[top] > value:
            break
        best, value = near[top], float(values[top])
    return best


def neighbours(calls: Calls, cuts: int) -> Calls:
    """All schedules one change away, (n, T). Call 0 stays full."""
    found = [*_shifted(calls), *_dropped(calls), *_added(calls), *_other_cuts(calls, cuts)]
    return np.array(found, dtype=np.int64).reshape(-1, len(calls))


def _full(calls: Calls) -> list[int]:
    return [int(call) for call in np.flatnonzero(calls == FULL) if call > 0]


def _cut_beside(calls: Calls, call: int) -> int:
    """The cut that a full call takes when it becomes partial: that of the calls before it, else after it, else 0."""
    before, after = calls[:call][calls[:call] != FULL], calls[call + 1 :][calls[call + 1 :] != FULL]
    return int(before[-1]) if len(before) else int(after[0]) if len(after) else 0


def _shifted(calls: Calls) -> list[Calls]:
    found = []
    for call in _full(calls):
        for to in np.flatnonzero(calls != FULL):
            changed = calls.copy()
            changed[call], changed[to] = calls[to], FULL
            found.append(changed)
    return found


def _dropped(calls: Calls) -> list[Calls]:
    found = []
    for call in _full(calls):
        changed = calls.copy()
        changed[call] = _cut_beside(calls, call)
        found.append(changed)
    return found


def _added(calls: Calls) -> list[Calls]:
    found = []
    for call in np.flatnonzero(calls != FULL):
        changed = calls.copy()
        changed[call] = FULL
        found.append(changed)
    return found


def _other_cuts(calls: Calls, cuts: int) -> list[Calls]:
    """Another cut at one partial call, or at all those between a full call and the next."""
    groups = [np.array([call]) for call in np.flatnonzero(calls != FULL)]
    groups += [part[1:] for part in np.split(np.arange(len(calls)), np.flatnonzero(calls == FULL)) if len(part) > 2]
    found = []
    for group in groups:
        for cut in range(cuts):
            if (calls[group] != cut).any():
                changed = calls.copy()
                changed[group] = cut
                found.append(changed)
    return found
