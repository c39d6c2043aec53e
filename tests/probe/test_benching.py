from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from deepcadence.probe import Workload, WorkloadError, bench, count_macs
from deepcadence.schedules import Schedule, ScheduleError, UnsupportedModelError, uniform
from tests import tiny

SCHEDULE = uniform(4, 2, 1)


def workload() -> Workload:
    return Workload(tiny.ddim_pipeline(), steps=4, seeds=(0, 1, 2), batch_size=2)


def clock(
    monkeypatch: pytest.MonkeyPatch, durations: Iterator[float], look: Callable[[], object] = lambda: None
) -> None:
    """Runs are made, and take what `durations` says; `look` is called at each."""

    def timed(device: torch.device, run: Callable[[], Any]) -> tuple[float, Any]:
        look()
        return next(durations), run()

    monkeypatch.setattr("deepcadence.probe.benching.timed", timed)


def test_speedups_are_taken_within_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    mine, attached = workload(), []
    model = mine.pipeline.unet
    durations = iter([9.0, 8.0, 4.0, 2.0, 1.0, 4.0, 60.0, 20.0])  # first runs; then three rounds, turn about
    clock(monkeypatch, durations, lambda: attached.append("forward" in model.__dict__))
    told: list[tuple[str, int, int]] = []
    plain, cached = bench(mine, SCHEDULE, rounds=3, progress=lambda *words: told.append(words))
    assert attached == [False, True, False, True, True, False, False, True]
    assert (plain.name, plain.first, plain.seconds, plain.speedup) == ("plain", 9.0, (4.0, 4.0, 60.0), 1.0)
    assert (cached.name, cached.first, cached.seconds, cached.speedup) == ("cached", 8.0, (2.0, 1.0, 20.0), 3.0)
    assert cached.median == 2.0
    macs = count_macs(model, size=(16, 16)).speedup(SCHEDULE)
    assert cached.mac_speedup == pytest.approx(macs)
    assert cached.time_over_macs == pytest.approx(3.0 / macs)
    assert (plain.mac_speedup, plain.time_over_macs, plain.bytes_held) == (None, None, 0)
    assert cached.bytes_held == 4 * 2 * 16 * 16 * 16  # float32, two samples, 16 channels, at the outermost block
    assert plain.peak_bytes is None
    assert told[0] == ("first runs", 0, 2)
    assert told[-1] == ("timing", 6, 6)
    assert "forward" not in model.__dict__


def test_compiled_ones_are_compared_with_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.compile", functools.partial(torch.compile, backend="eager"))
    clock(monkeypatch, iter([1.0, 1.0, 1.0, 1.0, 8.0, 4.0, 2.0, 0.5]))
    mine = workload()
    model = mine.pipeline.unet
    rows = bench(mine, SCHEDULE, rounds=1, compile=True)
    assert [(row.name, row.speedup, row.schedule_speedup) for row in rows] == [
        ("plain", 1.0, None),
        ("cached", 2.0, 2.0),
        ("compiled", 4.0, None),
        ("compiled and cached", 16.0, 4.0),
    ]
    assert rows[3].mac_speedup == rows[1].mac_speedup
    assert rows[3].bytes_held == rows[1].bytes_held
    assert mine.pipeline.unet is model
    assert "forward" not in model.__dict__


def test_the_macs_of_an_adaptive_run_are_those_that_it_took() -> None:
    never, always = (Schedule(calls=("full", 1, 1, 1)).adaptive(threshold) for threshold in (0.0, 1e6))
    assert bench(workload(), never, rounds=1)[1].mac_speedup == 1.0
    saved = bench(workload(), always, rounds=1)[1].mac_speedup
    assert saved is not None
    assert saved > 1.0


def test_what_does_not_fit_is_refused_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    clock(monkeypatch, iter(()))
    with pytest.raises(ScheduleError, match="found 5 calls, expected 4"):
        bench(workload(), uniform(5, 2, 1))
    with pytest.raises(WorkloadError, match="seeds: found none"):
        bench(workload().replace(seeds=()), SCHEDULE)
    with pytest.raises(UnsupportedModelError, match="adaptive"):
        bench(workload(), SCHEDULE.adaptive(0.1), compile=True)


def test_a_compiler_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(graph: object, inputs: object) -> None:
        raise RuntimeError("no compiler at all")

    monkeypatch.setattr("torch.compile", functools.partial(torch.compile, backend=broken))
    mine = workload()
    with pytest.raises(WorkloadError, match=r"torch\.compile failed here .*no compiler at all"):
        bench(mine, SCHEDULE, rounds=1, compile=True)
    assert "forward" not in mine.pipeline.unet.__dict__
