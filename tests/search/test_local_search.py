from __future__ import annotations

import itertools

import numpy as np
import pytest

from deepcadence.search.local_search import climb, neighbours
from deepcadence.search.predictor import FULL, Calls, Floats


def every_schedule(calls: int, cuts: int) -> Calls:
    return np.array([(FULL, *rest) for rest in itertools.product(range(FULL, cuts), repeat=calls - 1)])


def test_neighbours_are_one_change_away_and_start_full() -> None:
    calls = np.array([FULL, 0, 0, FULL, 1, 1, 1])
    near = neighbours(calls, 2)
    assert (near[:, 0] == FULL).all()
    assert not (near == calls).all(axis=1).any()

    def has(*wanted: int) -> bool:
        return bool((near == np.array(wanted)).all(axis=1).any())

    assert has(FULL, 0, FULL, 0, 1, 1, 1)  # shifted
    assert has(FULL, 0, 0, 1, 1, 1, FULL)  # to anywhere
    assert has(FULL, 0, 0, 0, 1, 1, 1)  # dropped
    assert has(FULL, 0, 0, FULL, 1, FULL, 1)  # added
    assert has(FULL, 0, 0, FULL, 0, 0, 0)  # another cut for the whole stretch
    assert has(FULL, 0, 0, FULL, 1, 0, 1)  # another cut at one call


def test_the_ends_of_what_can_be_changed() -> None:
    assert (neighbours(np.full(3, FULL), 1) == [[FULL, 0, FULL], [FULL, FULL, 0]]).all()
    assert len(neighbours(np.array([FULL]), 3)) == 0


@pytest.mark.parametrize("seed", range(5))
def test_climbing_finds_nearly_the_best_of_all(seed: int) -> None:
    """A loss that does not add up: the squared length of a sum of vectors, and a price for full calls."""
    generator = np.random.default_rng(seed)
    vectors = np.cumsum(generator.normal(size=(2, 7, 7, 3)) + 1, axis=2)  # cut, call, age, dimension

    def score(many: Calls) -> Floats:
        found = []
        for calls in many:
            last, total = 0, np.zeros(3)
            for call, did in enumerate(calls):
                last = call if did == FULL else last
                total += 0 if did == FULL else vectors[did, call, call - last] * (1 + did) / 2
            found.append(-np.log(1e-9 + total @ total) - 0.9 * (calls == FULL).sum())
        return np.array(found)

    values = score(every_schedule(7, 2))
    start = np.array([FULL, 0, 0, FULL, 0, 0, 0])
    end = climb(start, score, 2)
    reached = score(end[None])[0]
    assert reached >= score(start[None])[0]
    assert reached >= score(neighbours(end, 2)).max()
    assert (values > reached + 1e-12).mean() < 0.05  # a local optimum, but a good one
