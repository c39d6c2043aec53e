"""The generators: the reference cases, every valid input, and every kind of bad one."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepcadence.schedules import (
    MAX_CALLS,
    GeneratorInfo,
    Schedule,
    ScheduleError,
    from_full_calls,
    nonuniform,
    uniform,
)

ROWS: list[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "data" / "nonuniform.json").read_text())


def case(row: dict[str, Any]) -> str:
    return "-".join(str(row[key]) for key in ("num_calls", "interval", "center", "power"))


@pytest.mark.parametrize("row", ROWS, ids=case)
def test_paper_formula_gives_the_reference(row: dict[str, Any]) -> None:
    schedule = nonuniform(row["num_calls"], row["interval"], 2, row["center"], row["power"])
    assert list(schedule.full_calls) == row["paper"]
    assert schedule.generator == GeneratorInfo(
        name="nonuniform", interval=row["interval"], center=row["center"], power=row["power"], formula="paper"
    )


@pytest.mark.parametrize("row", ROWS, ids=case)
def test_released_formula_gives_the_reference(row: dict[str, Any]) -> None:
    arguments: Any = (row["num_calls"], row["interval"], 2, row["center"], row["power"], "released")
    if row["released"] is None:
        with pytest.raises(ScheduleError, match="finds no power above 1"):
            nonuniform(*arguments)
        return
    schedule = nonuniform(*arguments)
    assert list(schedule.full_calls) == row["released"]
    assert schedule.generator is not None
    assert schedule.generator.power == row["power"]
    assert schedule.generator.effective_power == pytest.approx(row["released_power"], abs=1e-9)


def test_the_reference_has_cases_of_each_kind() -> None:
    assert len(ROWS) > 100
    assert any(row["released"] is None for row in ROWS)
    assert any(row["released"] and row["released_power"] < row["power"] for row in ROWS)
    assert any(row["released"] and row["released"] != row["paper"] for row in ROWS)


def test_uniform() -> None:
    assert uniform(7, 3, 1).calls == ("full", 1, 1, "full", 1, 1, "full")
    assert uniform(3, 1, 0).calls == ("full",) * 3
    assert uniform(3, 50, 0).calls == ("full", 0, 0)
    assert uniform(7, 3, 1).generator == GeneratorInfo(name="uniform", interval=3)


def test_from_full_calls() -> None:
    assert from_full_calls(5, [3, 0], 2).calls == ("full", 2, 2, "full", 2)
    assert from_full_calls(2, {0}, 9).calls == ("full", 9)


def test_exact_values_are_not_lost_to_rounding() -> None:
    # (1 - 2/5)**2 * 50 is 18: 50 - 18 is call 32, also where floating point gives 31.999...
    assert nonuniform(100, 20, 0, 50, 2.0).full_calls == (0, 32, 48, 52, 68)


def test_whole_numbers_are_written_as_such() -> None:
    assert nonuniform(20, 4, 1, 15.0, 2.0) == nonuniform(20, 4, 1, 15, 2)
    assert nonuniform(20, 4, 1, 15.0, 2.0).dumps() == nonuniform(20, 4, 1, 15, 2).dumps()


def check_valid(schedule: Schedule, num_calls: int, cut: int) -> None:
    assert schedule.num_calls == num_calls
    assert schedule.full_calls[0] == 0
    assert set(schedule.cuts) <= {cut}
    text = schedule.dumps()
    assert Schedule.loads(text) == schedule
    assert Schedule.loads(text).dumps() == text


num_calls_ = st.integers(1, 300)
intervals = st.integers(1, 400)
cuts = st.integers(0, 9_999)


@given(num_calls_, intervals, cuts)
def test_uniform_is_valid(num_calls: int, interval: int, cut: int) -> None:
    schedule = uniform(num_calls, interval, cut)
    check_valid(schedule, num_calls, cut)
    assert len(schedule.full_calls) == math.ceil(num_calls / interval)


@given(
    num_calls_,
    intervals,
    cuts,
    st.floats(-1e6, 1e6) | st.integers(-50, 400),
    st.floats(0.05, 20.0, exclude_min=True),
)
def test_nonuniform_by_the_paper_is_valid(num_calls: int, interval: int, cut: int, center: float, power: float) -> None:
    schedule = nonuniform(num_calls, interval, cut, center, power)
    check_valid(schedule, num_calls, cut)
    assert len(schedule.full_calls) <= math.ceil(num_calls / interval) + 1


@given(st.integers(1, 120), intervals, cuts, st.integers(-50, 200), st.floats(1.0, 5.0))
def test_nonuniform_as_released_is_valid(num_calls: int, interval: int, cut: int, center: int, power: float) -> None:
    try:
        schedule = nonuniform(num_calls, interval, cut, center, power, "released")
    except ScheduleError as error:
        assert "finds no power above 1" in str(error)  # noqa: PT017
        return
    check_valid(schedule, num_calls, cut)
    assert len(schedule.full_calls) <= math.ceil(num_calls / interval)
    assert schedule.generator is not None
    assert 1 < (schedule.generator.effective_power or 0) <= power


@given(st.floats(), st.floats(min_value=0, exclude_min=True))
def test_any_number_gives_a_schedule_or_a_schedule_error(center: float, power: float) -> None:
    formulas: tuple[Literal["paper", "released"], ...] = ("paper", "released")
    for formula in formulas:
        try:
            check_valid(nonuniform(20, 3, 1, center, power, formula), 20, 1)
        except ScheduleError as error:
            assert "expected" in str(error) or "finds no power" in str(error)  # noqa: PT017


@given(num_calls_, cuts, st.data())
def test_from_full_calls_is_valid(num_calls: int, cut: int, data: st.DataObject) -> None:
    full = data.draw(st.sets(st.integers(0, num_calls - 1))) | {0}
    schedule = from_full_calls(num_calls, full, cut)
    check_valid(schedule, num_calls, cut)
    assert schedule.full_calls == tuple(sorted(full))


GOOD: dict[str, Any] = {"num_calls": 20, "interval": 3, "cut": 1, "center": 5, "power": 1.4}


@pytest.mark.parametrize("formula", ["paper", "released"])
@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("num_calls", 0),
        ("num_calls", -5),
        ("num_calls", MAX_CALLS + 1),
        ("num_calls", 20.0),
        ("num_calls", True),
        ("num_calls", "20"),
        ("interval", 0),
        ("interval", -1),
        ("interval", 2.5),
        ("interval", None),
        ("interval", False),
        ("cut", -1),
        ("cut", 10_000),
        ("cut", 1.0),
        ("cut", True),
        ("center", math.nan),
        ("center", math.inf),
        ("center", "5"),
        ("center", True),
        ("center", None),
        ("power", 0),
        ("power", -1.4),
        ("power", math.nan),
        ("power", math.inf),
        ("power", 10**400),
        ("power", True),
        ("power", "1.4"),
    ],
)
def test_bad_arguments_are_named(argument: str, value: object, formula: str) -> None:
    with pytest.raises(ScheduleError, match=rf"^{argument}: found .*, expected .*") as caught:
        nonuniform(**GOOD | {argument: value}, formula=formula)  # type: ignore[arg-type]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**9:
        assert f"found {value}," in str(caught.value)


def test_bad_arguments_of_the_released_formula() -> None:
    for center in (5.5, 10**7):
        with pytest.raises(ScheduleError, match=r'center: found .* whole number .*"released"'):
            nonuniform(**GOOD | {"center": center}, formula="released")
    with pytest.raises(ScheduleError, match="power: found 11, expected at most 10"):
        nonuniform(**GOOD | {"power": 11}, formula="released")
    for power in (1, 0.5):
        with pytest.raises(ScheduleError, match="finds no power above 1"):
            nonuniform(**GOOD | {"power": power}, formula="released")


def test_a_power_that_overflows_is_refused() -> None:
    with pytest.raises(ScheduleError, match="power: found 1e-300"):
        nonuniform(20, 3, 1, 5, 1e-300)


def test_an_unknown_formula_is_refused() -> None:
    with pytest.raises(ScheduleError, match='formula: found "published", expected "paper" or "released"'):
        nonuniform(20, 3, 1, 5, 1.4, "published")  # type: ignore[arg-type]


def test_bad_full_calls_are_named() -> None:
    with pytest.raises(ScheduleError, match=r"full_calls: found \[2\], expected 0 among them"):
        from_full_calls(5, [2], 1)
    with pytest.raises(ScheduleError, match=r"full_calls: found \[\]"):
        from_full_calls(5, [], 1)
    with pytest.raises(ScheduleError, match=r"full_calls\[1\]: found 5, expected a whole number from 0 to 4"):
        from_full_calls(5, [0, 5], 1)
    with pytest.raises(ScheduleError, match=r"full_calls\[1\]: found true"):
        from_full_calls(5, [0, True], 1)


CALLS = f"a whole number from 1 to {MAX_CALLS}"
SENTENCES: list[tuple[Callable[[], Schedule], str]] = [
    (lambda: uniform(0, 1, 1), f"num_calls: found 0, expected {CALLS}"),
    (lambda: uniform(MAX_CALLS + 1, 1, 1), f"num_calls: found {MAX_CALLS + 1}, expected {CALLS}"),
    (lambda: uniform(9, 0, 1), f"interval: found 0, expected {CALLS}"),
    (lambda: uniform(9, MAX_CALLS + 1, 1), f"interval: found {MAX_CALLS + 1}, expected {CALLS}"),
    (lambda: uniform(9, 2, 10_000), "cut: found 10000, expected a whole number from 0 to 9999"),
    (lambda: nonuniform(0, 1, 1, 0, 1), f"num_calls: found 0, expected {CALLS}"),
    (lambda: nonuniform(MAX_CALLS + 1, 1, 1, 0, 1), f"num_calls: found {MAX_CALLS + 1}, expected {CALLS}"),
    (lambda: nonuniform(9, 0, 1, 0, 1), f"interval: found 0, expected {CALLS}"),
    (lambda: nonuniform(9, MAX_CALLS + 1, 1, 0, 1), f"interval: found {MAX_CALLS + 1}, expected {CALLS}"),
    (lambda: nonuniform(9, 2, 1, math.inf, 1), "center: found Infinity, expected a finite number"),
    (lambda: nonuniform(9, 2, 1, 0, 0), "power: found 0, expected a finite number above 0"),
    (lambda: from_full_calls(0, [0], 1), f"num_calls: found 0, expected {CALLS}"),
    (lambda: from_full_calls(MAX_CALLS + 1, [0], 1), f"num_calls: found {MAX_CALLS + 1}, expected {CALLS}"),
    (lambda: from_full_calls(5, [0], -1), "cut: found -1, expected a whole number from 0 to 9999"),
    (lambda: from_full_calls(5, [0, 5], 1), "full_calls[1]: found 5, expected a whole number from 0 to 4"),
    (
        lambda: from_full_calls(20, range(1, 15), 1),
        "full_calls: found [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], expected 0 among them: the first call is full",
    ),
]


@pytest.mark.parametrize(("make", "sentence"), SENTENCES, ids=[sentence[:40] for _, sentence in SENTENCES])
def test_whole_sentences(make: Callable[[], Schedule], sentence: str) -> None:
    with pytest.raises(ScheduleError) as error:
        make()
    assert str(error.value) == sentence
