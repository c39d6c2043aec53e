from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcadence.search.shortest_path import shortest_paths


def loss_of(losses: np.ndarray, full: tuple[int, ...]) -> float:
    """The sum, call by call, without any recursion."""
    total = 0.0
    for call in range(losses.shape[1]):
        before = [each for each in full if each <= call]
        if before[-1] != call:
            earlier = before[-2] if len(before) > 1 else before[-1]
            total += losses[0 if len(losses) == 1 else earlier, before[-1], call]
    return total


def brute_force(losses: np.ndarray, count: int) -> float:
    rest = itertools.combinations(range(1, losses.shape[1]), count - 1)
    return min(loss_of(losses, (0, *some)) for some in rest)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), calls=st.integers(2, 8), extrapolating=st.booleans())
def test_paths_are_the_best_of_all(seed: int, calls: int, extrapolating: bool) -> None:
    losses = np.random.default_rng(seed).exponential(size=(calls if extrapolating else 1, calls, calls))
    found = shortest_paths(losses, calls)
    assert len(found) == calls
    for count, (loss, full) in enumerate(found, 1):
        assert len(full) == count
        assert full[0] == 0
        assert list(full) == sorted(set(full))
        assert loss == pytest.approx(brute_force(losses, count))
        assert loss_of(losses, full) == pytest.approx(loss)


def test_losses_that_cannot_be_are_not_looked_at() -> None:
    losses = np.full((1, 5, 5), np.inf)
    losses[0][np.triu_indices(5, 1)] = 1.0
    assert [loss for loss, _ in shortest_paths(losses, 5)] == [4.0, 3.0, 2.0, 1.0, 0.0]


def test_an_expensive_end_draws_the_full_calls_there() -> None:
    losses = np.ones((1, 6, 6)) * np.array([1, 1, 1, 1, 9, 9.0])
    assert shortest_paths(losses, 3)[2][1] == (0, 4, 5)


def test_warm_up_and_cool_down_fall_out() -> None:
    """Where features change fast at both ends of a run, the best schedule is full there, and sparse between."""
    speed = np.ones(20)
    speed[:5] = speed[16:] = 20.0
    age = np.subtract.outer(np.arange(20.0), np.arange(20.0)).T[None]
    (_, alike), (_, found) = (shortest_paths(losses, 11)[10] for losses in (age, age * speed))
    assert set(range(5)) | set(range(16, 20)) <= set(found)
    assert np.diff(found).tolist() == [1, 1, 1, 1, 4, 4, 4, 1, 1, 1]
    assert max(np.diff(alike)) == 2  # nothing but the errors says where a run begins and ends
