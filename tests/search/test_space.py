from __future__ import annotations

import optuna
import pytest

from deepcadence.probe import Macs
from deepcadence.schedules import nonuniform
from deepcadence.search import Candidate, SearchError, SearchSpace, baselines, cuts_within_reach
from deepcadence.search.baselines import default_fewer_steps


def test_every_point_of_the_space_is_a_valid_schedule() -> None:
    space = SearchSpace.default(20, 20, (0, 2))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(200):
        candidate = space.suggest(study.ask())
        schedule = candidate.schedule()
        assert schedule.num_calls == 20
        assert schedule.cuts in ((0,), (2,), ())
        assert candidate.interval is not None
        assert candidate.center is not None
        assert candidate.power is not None
        assert 2 <= candidate.interval <= 10
        assert (
            schedule.calls
            == nonuniform(20, candidate.interval, candidate.cut or 0, candidate.center, candidate.power).calls
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cuts": ()}, "no cut"),
        ({"num_calls": 1}, "nothing to reuse"),
        ({"intervals": (1, 3)}, "intervals"),
        ({"intervals": (3, 2)}, "intervals"),
        ({"intervals": (2, 21)}, "intervals"),
        ({"powers": (1.0, 2.0)}, "powers"),
    ],
)
def test_empty_ranges_are_errors(arguments: dict[str, object], message: str) -> None:
    given: dict[str, object] = {"num_calls": 20, "steps": 20, "cuts": (0,)} | arguments
    with pytest.raises(SearchError, match=message):
        SearchSpace.default(**given)  # type: ignore[arg-type]


def test_baselines_are_bounded_and_cover_the_three_kinds() -> None:
    space = SearchSpace.default(50, 50, range(12))
    found = baselines(space)
    kinds = [candidate.origin for candidate in found]
    assert kinds.count("uniform") == 2 * 24
    assert 1 <= kinds.count("published") <= 6
    assert kinds.count("fewer_steps") == 9
    assert len({candidate.label for candidate in found}) == len(found)
    uniform = [candidate for candidate in found if candidate.origin == "uniform"]
    assert {candidate.interval for candidate in uniform} == {2, 3, 4, 5, 7, 10}
    assert {candidate.cut for candidate in uniform} == {0, 1, 2, 3}
    assert [candidate.order for candidate in uniform] == [0] * 24 + [1] * 24
    held_only = baselines(SearchSpace.default(50, 50, range(12), orders=(0,)))
    assert [c.origin for c in held_only].count("uniform") == 24


def test_the_published_schedule_is_what_the_authors_code_computes() -> None:
    found = next(c for c in baselines(SearchSpace.default(50, 50, (0,))) if c.origin == "published")
    assert (found.interval, found.center, found.power, found.formula) == (5, 15, 1.4, "released")
    assert found.calls == nonuniform(50, 5, 0, 15, 1.4, formula="released").calls
    assert found.label == "published c=15 p=1.4, 1:5 cut 0"


def test_step_counts() -> None:
    assert default_fewer_steps(50) == [40, 33, 25, 20, 17, 12, 10, 8, 5]
    assert default_fewer_steps(2) == []
    given = baselines(SearchSpace.default(10, 10, (0,)), fewer_steps=(3, 20, 5, 3))
    assert [c.steps for c in given if c.origin == "fewer_steps"] == [5, 3]


def test_equal_runs_have_equal_keys() -> None:
    a = Candidate(origin="uniform", label="a", calls=("full", 1), steps=2)
    b = Candidate(origin="nonuniform", label="b", calls=("full", 1), steps=2)
    assert a.key == b.key != Candidate(origin="uniform", label="a", calls=("full", 2), steps=2).key
    assert Candidate(origin="fewer_steps", label="c", calls=None, steps=2).key != a.key


def test_fewer_steps_are_no_schedule() -> None:
    with pytest.raises(SearchError, match="no schedule"):
        Candidate(origin="fewer_steps", label="2 steps", calls=None, steps=2).schedule()


def test_cuts_within_reach_of_a_speedup() -> None:
    macs = Macs(full=100, partial={0: 10, 1: 45, 2: 50, 3: 90}, counter="exact", sample_shape=(1, 8, 8))
    assert cuts_within_reach(macs, 2.0) == [0, 1]
    with pytest.raises(SearchError, match="at most 10 times cheaper"):
        cuts_within_reach(macs, 10.0)
