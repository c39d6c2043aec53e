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
        ({"orders": ()}, "orders"),
        ({"alphas": (0.0,)}, "alphas"),
        ({"alphas": (2.5,)}, "alphas"),
        ({"thresholds": (-0.1,)}, "thresholds"),
        ({"thresholds": (0.1,), "max_holds": (0,)}, "max_holds"),
        ({"max_holds": (4,)}, "give thresholds"),
        ({"fewer": ((20, 20),)}, "fewer than the 20"),
        ({"spacings": ()}, "spacings"),
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


def points(space: SearchSpace, count: int = 60) -> list[tuple[Candidate, dict[str, object]]]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    asked = [study.ask() for _ in range(count)]
    return [(space.suggest(trial), trial.params) for trial in asked]


def test_what_is_searched_by_default() -> None:
    for candidate, params in points(SearchSpace.default(20, 20, (0,))):
        assert set(params) == {"interval", "cut", "center", "power", "order"} | (
            {"alpha"} if candidate.order else set()
        )
        assert candidate.alpha in (0.75, 1.0)
        assert candidate.threshold is None
        assert (candidate.steps, candidate.spacing) == (20, None)


def test_all_that_can_be_searched() -> None:
    space = SearchSpace.default(
        20, 20, (0, 2), alphas=(0.5, 1.25), thresholds=(0.1, 0.3), max_holds=(4,), fewer=((10, 11),),
        spacings=(None, "leading"),
    )  # fmt: skip
    found = points(space, 200)
    assert {c.alpha for c, _ in found if c.order} == {0.5, 1.25}
    assert {c.threshold for c, _ in found} == {None, 0.1, 0.3}
    assert {c.spacing for c, _ in found} == {None, "leading"}
    for candidate, params in found:
        schedule = candidate.schedule()
        assert schedule.num_calls == {20: 20, 10: 11}[candidate.steps]
        assert ("alpha" in params) == (candidate.order > 0)
        assert ("10 steps" in candidate.label) == (candidate.steps == 10)
        assert ("leading" in candidate.label) == (candidate.spacing == "leading")
        if candidate.threshold is None:
            assert schedule.reuse.alpha == (candidate.alpha if candidate.order else None)
        else:
            assert (schedule.reuse.mode, schedule.reuse.max_hold) == ("adaptive", 4)
            assert schedule.full_calls == (0,)
            assert "interval" not in params
    assert len({c.key for c, _ in found}) == len({(c.calls, c.reuse, c.steps, c.spacing) for c, _ in found})


def test_everything_can_be_fixed() -> None:
    space = SearchSpace.default(20, 20, (0,), orders=(), thresholds=(0.2,), spacings=("trailing",))
    for candidate, params in points(space, 5):
        assert set(params) == {"cut"}
        assert candidate.label == "adaptive 0.2 cut 0 trailing"
    space = SearchSpace.default(20, 20, (0,), orders=(1,), alphas=(1.25,))
    assert {(candidate.order, candidate.alpha) for candidate, _ in points(space, 5)} == {(1, 1.25)}


def test_fewer_steps_are_tried_with_every_spacing() -> None:
    found = baselines(SearchSpace.default(10, 10, (0,), spacings=("leading",)), fewer_steps=(5,))
    assert [c.label for c in found if c.origin == "fewer_steps"] == ["5 steps", "5 steps leading"]


def test_schedules_have_the_calls_of_their_spacing() -> None:
    space = SearchSpace.default(
        20, 20, (0,), thresholds=(0.1,), fewer=((13, 13),), spacings=(None, "trailing")
    )  # fmt: skip
    lengths = {(20, None): 20, (13, None): 13, (20, "trailing"): 20, (13, "trailing"): 14}
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    found = [space.suggest(study.ask(), lambda *run: lengths[run]) for _ in range(60)]
    assert {(c.steps, c.spacing): c.schedule().num_calls for c in found} == lengths
    assert all(c.schedule().num_calls == lengths[c.steps, c.spacing] for c in found)


def test_default_step_counts_with_which_the_pipeline_does_not_run_are_left_out() -> None:
    space = SearchSpace.default(20, 20, (0,), spacings=(None, "trailing"))

    def runs(steps: int, spacing: str | None) -> bool:
        return steps > (10 if spacing else 4)

    def counts(given: tuple[int, ...] | None) -> list[tuple[int, str | None]]:
        found = baselines(space, fewer_steps=given, runs=runs)
        return [(c.steps, c.spacing) for c in found if c.origin == "fewer_steps"]

    assert counts(None) == [(s, None) for s in (16, 13, 10, 8, 7, 5)] + [(16, "trailing"), (13, "trailing")]
    assert counts((8, 2)) == [(8, None), (2, None), (8, "trailing"), (2, "trailing")]  # asked for: the trial says it
