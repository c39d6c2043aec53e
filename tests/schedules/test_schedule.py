"""The schedule: its JSON, there and back, and every kind of bad file."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepcadence.schedules import (
    MAX_CALLS,
    Cost,
    Created,
    GeneratorInfo,
    ModelInfo,
    Quality,
    ReuseInfo,
    SamplerInfo,
    Schedule,
    ScheduleError,
    uniform,
)
from deepcadence.schedules.text import MAX_BYTES

SHA = "0123456789abcdef" * 4
DATA: dict[str, Any] = {
    "format": "deepcadence/schedule",
    "version": 1,
    "calls": ["full", 2, 2, "full", 2, 0, "full", 2],
    "reuse": {"mode": "hold"},
    "generator": {"name": "nonuniform", "interval": 5, "center": 15, "power": 1.4, "formula": "paper"},
    "model": {"class": "UNet2DConditionModel", "config_sha256": SHA, "cuts": {"0": "up.1", "2": "up.0", "10": "up"}},
    "sampler": {"class": "DDIMScheduler", "config_sha256": SHA, "timesteps": [981, 961, 1.5]},
    "cost": {
        "counter": "exact",
        "full_macs": 400,
        "partial_macs": {"0": 50, "2": 100},
        "mean_macs": 212.5,
        "speedup": 1.88,
        "sample_shape": [4, 64, 64],
    },
    "quality": [
        {
            "metric": "psnr",
            "unit": "dB",
            "value": 30,
            "ci95": [29.5, 30.5],
            "samples": 256,
            "seeds": "held-out",
            "reference": "full",
        }
    ],
    "created": {"by": "deepcadence 0.1.0", "at": "2025-01-31T12:00:00+00:00"},
}
MINIMAL = {key: DATA[key] for key in ("format", "version", "calls")}


def changed(path: str, value: object) -> str:
    """DATA as JSON with the entry at a dotted path replaced."""
    data = copy.deepcopy(DATA)
    *parents, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    target: Any = data
    for step in parents:
        target = target[step]
    target[last] = value
    return json.dumps(data)


def error_of(text: str | bytes) -> str:
    with pytest.raises(ScheduleError) as caught:
        Schedule.loads(text, source="bad.json")
    message = str(caught.value)
    assert all(line.startswith("bad.json: ") for line in message.splitlines())
    assert "pydantic" not in message
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return message


def test_properties() -> None:
    schedule = Schedule.loads(json.dumps(DATA))
    assert schedule.num_calls == 8
    assert schedule.full_calls == (0, 3, 6)
    assert schedule.cuts == (0, 2)
    assert schedule.model is not None
    assert schedule.model.cuts == {0: "up.1", 2: "up.0", 10: "up"}
    assert schedule.mean_macs(400, {0: 50, 2: 100}) == (3 * 400 + 4 * 100 + 50) / 8
    assert uniform(4, 1, 3).cuts == ()


def test_mean_macs_needs_every_cut() -> None:
    with pytest.raises(ScheduleError, match="found MACs for cuts 2, expected cut 0 among them"):
        Schedule.loads(json.dumps(DATA)).mean_macs(400, {2: 100})


def test_a_hand_written_file_needs_little() -> None:
    schedule = Schedule.loads(json.dumps(MINIMAL))
    assert schedule.reuse == ReuseInfo(mode="hold")
    assert {schedule.model, schedule.quality, schedule.created} == {None}
    assert schedule == Schedule(calls=schedule.calls)


def test_canonical_text() -> None:
    assert uniform(12, 6, 2).dumps() == (
        "{\n"
        '  "calls": [\n'
        '    "full", 2, 2, 2, 2, 2, "full", 2, 2, 2,\n'
        "    2, 2\n"
        "  ],\n"
        '  "format": "deepcadence/schedule",\n'
        '  "generator": {\n'
        '    "interval": 6,\n'
        '    "name": "uniform"\n'
        "  },\n"
        '  "reuse": {\n'
        '    "mode": "hold"\n'
        "  },\n"
        '  "version": 1\n'
        "}\n"
    )


def test_nothing_is_lost_on_the_way() -> None:
    schedule = Schedule.loads(json.dumps(DATA))
    assert json.loads(schedule.dumps()) == DATA
    text = schedule.dumps()
    assert '"value": 30\n' in text.replace(",", "")  # whole numbers stay whole
    assert Schedule.loads(text).dumps() == text


def test_save_and_load(tmp_path: Path) -> None:
    schedule = Schedule.loads(json.dumps(DATA))
    path = tmp_path / "schedule.json"
    schedule.save(path)
    assert Schedule.load(path) == schedule
    assert Schedule.load(str(path)) == schedule
    assert path.read_bytes() == schedule.dumps().encode()
    uniform(3, 2, 1).save(str(path))
    assert Schedule.load(path) == uniform(3, 2, 1)
    assert [entry.name for entry in tmp_path.iterdir()] == ["schedule.json"]


def test_errors_of_a_file_name_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(changed("calls", ["full", -1]))
    with pytest.raises(ScheduleError) as caught:
        Schedule.load(path)
    assert str(caught.value).startswith(f"{path}: calls[1]: found -1, expected")
    with pytest.raises(FileNotFoundError):
        Schedule.load(tmp_path / "none.json")


def test_a_schedule_can_be_copied_pickled_and_not_changed() -> None:
    schedule = Schedule.loads(json.dumps(DATA))
    assert copy.deepcopy(schedule) == schedule
    assert pickle.loads(pickle.dumps(schedule)) == schedule  # noqa: S301
    with pytest.raises(ValueError, match="frozen"):
        schedule.calls = ("full",)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("path", "value", "place", "found", "expected"),
    [
        ("format", "deepcache", "format", '"deepcache"', '"deepcadence/schedule"'),
        ("version", 2, "version", "2", "1; a newer deepcadence wrote this file"),
        ("version", 0, "version", "0", "1"),
        ("version", True, "version", "true", "1"),
        ("version", 1.0, "version", "1.0", "1"),
        ("version", "1", "version", '"1"', "1"),
        ("calls", [], "calls", "an empty list", "at least one call"),
        ("calls", [2, "full"], "calls[0]", "2", '"full": the first call'),
        ("calls", "full", "calls", '"full"', "a list"),
        ("calls", {"0": "full"}, "calls", "an object", "a list"),
        ("calls", None, "calls", "null", "a list"),
        ("calls", ["full", -1], "calls[1]", "-1", '"full" or a cut'),
        ("calls", ["full", 10_000], "calls[1]", "10000", '"full" or a cut'),
        ("calls", ["full", True], "calls[1]", "true", '"full" or a cut'),
        ("calls", ["full", 2.0], "calls[1]", "2.0", '"full" or a cut'),
        ("calls", ["full", "2"], "calls[1]", '"2"', '"full" or a cut'),
        ("calls", ["full", "FULL"], "calls[1]", '"FULL"', '"full" or a cut'),
        ("calls", ["full", None], "calls[1]", "null", '"full" or a cut'),
        ("calls", ["full", [2]], "calls[1]", "a list", '"full" or a cut'),
        ("calls", ["full", 10**30], "calls[1]", "1000", '"full" or a cut'),
        ("calls", ["full"] * (MAX_CALLS + 1), "calls", "100001 calls", "at most 100000"),
        ("calls", ["full", 2, 7], "calls[2]", "cut 7", '"full" or a cut that model.cuts lists (0, 2, 10)'),
        ("calls", ["full", 10], "calls[1]", "cut 10", '"full" or a cut that cost.partial_macs lists (0, 2)'),
        ("reuse", {"mode": "taylor"}, "reuse.mode", '"taylor"', '"hold", "extrapolate" or "adaptive"'),
        ("reuse", "hold", "reuse", '"hold"', "an object"),
        ("note", 1, "note", "an unknown key", "only format, version, calls, reuse, generator, model, sampler"),
        ("model.klass", 1, "model.klass", "an unknown key", "only class, config_sha256, cuts"),
        ("model.class_name", "x", "model.class_name", "an unknown key", "only class, config_sha256, cuts"),
        ("model", {}, "model.class", "nothing", "this key to be there"),
        ("model.class", 3, "model.class", "3", "text on one line"),
        ("model.config_sha256", "abc", "model.config_sha256", '"abc"', "a SHA-256"),
        ("model.cuts", {"02": "up"}, 'model.cuts["02"]', '"02"', "a cut as the key"),
        ("model.cuts", {"-1": "up"}, 'model.cuts["-1"]', '"-1"', "a cut as the key"),
        ("model.cuts", {"0": 1}, 'model.cuts["0"]', "1", "text on one line"),
        ("model.cuts", ["up"], "model.cuts", "a list", "an object"),
        ("sampler.timesteps", [1, "2"], "sampler.timesteps[1]", '"2"', "a finite number"),
        ("sampler.timesteps", [False], "sampler.timesteps[0]", "false", "a finite number"),
        ("cost.full_macs", 1.5, "cost.full_macs", "1.5", "a whole number"),
        ("cost.full_macs", 2**63, "cost.full_macs", str(2**63), "a whole number from 1 to"),
        ("cost.counter", "fvcore", "cost.counter", '"fvcore"', '"exact" or "paper"'),
        ("cost.mean_macs", 0, "cost.mean_macs", "0", "a finite number above 0"),
        ("generator.power", -1.0, "generator.power", "-1.0", "a finite number above 0"),
        ("generator.formula", "mine", "generator.formula", '"mine"', '"paper" or "released"'),
        ("quality.0.value", "30", "quality[0].value", '"30"', "a finite number"),
        ("quality.0.ci95", [1], "quality[0].ci95[1]", "nothing", "this key to be there"),
        ("quality.0.ci95", [1, 2, 3], "quality[0].ci95", "a list", "2 entries"),
        ("quality.0.ci95", [2, 1], "quality[0]", "an object", "an interval with the low end first"),
        ("quality.0.extra", 1, "quality[0].extra", "an unknown key", "only metric, unit, value"),
        ("created.at", "yesterday", "created.at", '"yesterday"', "an ISO 8601 date and time"),
        (
            "created.at",
            "2025-01-31T12:00:00",
            "created.at",
            '"2025-01-31T12:00:00"',
            "an ISO 8601 date and time with an offset",
        ),
        ("created.by", "two\nlines", "created.by", '"two\\nlines"', "text on one line"),
    ],
)
def test_a_bad_value_is_named(path: str, value: object, place: str, found: str, expected: str) -> None:
    first = error_of(changed(path, value)).splitlines()[0]
    assert first.startswith(f"bad.json: {place}: found {found}")
    assert f", expected {expected}" in first
    assert len(first) < 300


@pytest.mark.parametrize("key", MINIMAL)
def test_a_missing_key_is_named(key: str) -> None:
    text = json.dumps({name: value for name, value in MINIMAL.items() if name != key})
    assert error_of(text).startswith(f"bad.json: {key}: found nothing, expected")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1 column 1: found text that is not JSON"),
        ('{"calls": [}', "line 1 column 12: found text that is not JSON"),
        ("{'calls': []}", "line 1 column 2: found text that is not JSON"),
        ("[]", "top level: found an empty list, expected an object"),
        ("null", "top level: found null, expected an object"),
        ('{"version": 1, "version": 1}', 'key "version": found it more than once'),
        ('{"model": {"cuts": {"2": "a", "2": "b"}}}', 'key "2": found it more than once'),
        ('{"calls": NaN}', "a number: found NaN, expected a finite number, as JSON demands"),
        ('{"calls": -Infinity}', "a number: found -Infinity"),
        ('{"calls": 1e999}', "a number: found 1e999, expected a number within"),
        ('{"calls": ' + "9" * 5000 + "}", "a number: found 99999999999999999999... of 5000 digits"),
        ("[" * 100_000, "nesting: found lists or objects nested too deeply"),
        ('{"a":' * 100_000, "nesting: found lists or objects nested too deeply"),
        (b"{\xff}", "byte 1: found 0xff, which is not UTF-8"),
        ('{"calls": []}'.encode("utf-16"), "byte 0: found 0xff, which is not UTF-8"),
        (b"\xef\xbb\xbf{}", "byte 0: found a byte-order mark"),
        (b" " * (MAX_BYTES + 1), "size: found more than"),
    ],
)
def test_a_bad_text_is_named(text: str | bytes, message: str) -> None:
    assert error_of(text).startswith(f"bad.json: {message}")


def test_a_file_over_the_limit_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "huge.json"
    with path.open("wb") as file:
        file.truncate(2**33)  # sparse
    with pytest.raises(ScheduleError, match="size: found more than"):
        Schedule.load(path)


def test_many_problems_are_told_at_once_but_not_all() -> None:
    lines = error_of(changed("cost.partial_macs", {str(cut): -1 for cut in range(20)})).splitlines()
    assert len(lines) == 6
    assert lines[4].startswith('bad.json: cost.partial_macs["4"]: found -1')
    assert lines[5] == "bad.json: and 15 more"


@pytest.mark.parametrize("place", ["calls", "sampler.timesteps", "quality"])
def test_of_a_list_the_first_wrong_entry_is_told(place: str) -> None:
    (line,) = error_of(changed(place, [None] * 100_000)).splitlines()  # the errors of all would take gigabytes
    assert line.startswith(f"bad.json: {place}[0]: found null")


def test_an_object_of_very_many_keys_is_refused() -> None:
    message = error_of(changed("cost.partial_macs", {str(cut): 1 for cut in range(20_001)}))
    assert message == "bad.json: found 20001 keys in one object, expected at most 20000"


def test_the_constructor_raises_the_same_error() -> None:
    with pytest.raises(ScheduleError, match=r"^Schedule: calls\[1\]: found true, expected"):
        Schedule(calls=("full", True))
    with pytest.raises(ScheduleError, match=r"^Schedule: note: found an unknown key"):
        Schedule(calls=("full",), note=1)  # type: ignore[call-arg]
    with pytest.raises(ScheduleError, match=r"^Schedule: calls: found nothing"):
        Schedule()  # type: ignore[call-arg]
    assert Schedule(calls=["full", 1]).calls == ("full", 1)


def test_created_now() -> None:
    created = Created.now()
    assert created.by.startswith("deepcadence ")
    assert created.at.endswith("+00:00")
    assert Created.now(by="somebody").by == "somebody"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from([*DATA, "note"]), json_values)
def test_any_value_anywhere_is_read_or_refused_properly(key: str, value: object) -> None:
    text = json.dumps(DATA | {key: value})
    try:
        schedule = Schedule.loads(text, "bad.json")
    except ScheduleError as error:
        assert str(error).startswith("bad.json: ")  # noqa: PT017
    else:
        assert Schedule.loads(schedule.dumps()) == schedule


@given(st.binary(max_size=60))
def test_any_bytes_are_refused_properly(content: bytes) -> None:
    error_of(content)


texts = st.text(st.characters(categories=["L", "N", "P"]), max_size=20)
numbers = st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
positive = st.integers(1, 2**63 - 1) | st.floats(min_value=0, exclude_min=True, allow_infinity=False)
counts = st.integers(1, 2**63 - 1)
cuts = st.integers(0, 9_999)
hashes = st.none() | st.just(SHA)


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    calls = ("full", *draw(st.lists(st.just("full") | cuts, max_size=30)))
    used = {call for call in calls if call != "full"}
    model = ModelInfo(class_name=draw(texts), config_sha256=draw(hashes), cuts={cut: draw(texts) for cut in used})
    timesteps = st.none() | st.lists(numbers, max_size=30).map(tuple)
    sampler = SamplerInfo(
        class_name=draw(texts),
        config_sha256=draw(hashes),
        timesteps=draw(timesteps),
        steps=draw(st.none() | st.integers(1, 99)),
    )
    cost = Cost(
        counter=draw(st.sampled_from(["exact", "paper"])),
        full_macs=draw(counts),
        partial_macs={cut: draw(counts) for cut in used},
        mean_macs=draw(st.none() | positive),
        sample_shape=draw(st.none() | st.lists(counts, max_size=4).map(tuple)),
    )
    ends = draw(st.none() | st.tuples(numbers, numbers))
    quality = Quality(
        metric=draw(texts),
        value=draw(numbers),
        ci95=None if ends is None else (min(ends), max(ends)),
        samples=draw(counts),
        seeds=draw(texts),
        reference=draw(texts),
    )
    generator = GeneratorInfo(name=draw(texts), center=draw(st.none() | numbers), power=draw(st.none() | positive))
    return Schedule(
        calls=calls,
        generator=draw(st.none() | st.just(generator)),
        model=draw(st.none() | st.just(model)),
        sampler=draw(st.none() | st.just(sampler)),
        cost=draw(st.none() | st.just(cost)),
        quality=draw(st.none() | st.lists(st.just(quality), max_size=2).map(tuple)),
        created=draw(st.none() | st.just(Created(by="somebody", at="2025-01-31T12:00:00Z"))),
    )


@given(schedules())
def test_there_and_back(schedule: Schedule) -> None:
    text = schedule.dumps()
    assert text.isascii()
    assert text.endswith("}\n")
    assert Schedule.loads(text) == schedule
    assert Schedule.loads(text).dumps() == text
    assert Schedule.loads(text.encode()) == schedule


@given(schedules(), st.integers(1, 100))
def test_resampling_gives_a_valid_schedule(schedule: Schedule, num_calls: int) -> None:
    resampled = schedule.resample(num_calls)
    assert resampled.num_calls == num_calls
    assert set(resampled.cuts) <= set(schedule.cuts)
    expected = {call * num_calls // schedule.num_calls for call in schedule.full_calls}
    if schedule.cuts:
        assert set(resampled.full_calls) == expected
    else:
        assert resampled.full_calls == tuple(range(num_calls))
    assert Schedule.loads(resampled.dumps()) == resampled


@given(schedules())
def test_resampling_to_the_same_number_changes_nothing(schedule: Schedule) -> None:
    assert schedule.resample(schedule.num_calls) is schedule


def test_resampling() -> None:
    assert uniform(50, 5, 2).resample(100).full_calls == uniform(100, 10, 2).full_calls
    assert uniform(50, 5, 2).resample(20).calls == uniform(20, 2, 2).calls
    assert uniform(50, 5, 2).resample(1).calls == ("full",)
    mixed = Schedule(calls=("full", 0, 1, "full", 2, 3))
    assert mixed.resample(3).calls == ("full", "full", 2)
    assert mixed.resample(12).calls == ("full", 0, 0, 0, 1, 1, "full", 2, 2, 2, 3, 3)
    assert Schedule(calls=("full", 3, "full")).resample(6).calls == ("full", 3, 3, 3, "full", 3)


def test_resampling_drops_what_is_no_longer_true() -> None:
    schedule = Schedule.loads(json.dumps(DATA))
    resampled = schedule.resample(16)
    assert resampled.model == schedule.model
    assert {resampled.generator, resampled.quality, resampled.created} == {None}
    assert resampled.sampler == SamplerInfo(class_name="DDIMScheduler", config_sha256=SHA)
    assert resampled.cost == Cost(
        counter="exact", full_macs=400, partial_macs={0: 50, 2: 100}, sample_shape=(4, 64, 64)
    )


@pytest.mark.parametrize("num_calls", [0, -1, 2.0, True, "50", MAX_CALLS + 1])
def test_resampling_to_nonsense_is_refused(num_calls: Any) -> None:
    with pytest.raises(ScheduleError, match=r"^num_calls: found .*, expected a whole number from 1 to 100000"):
        uniform(50, 5, 2).resample(num_calls)
