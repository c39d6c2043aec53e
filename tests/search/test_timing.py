from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from deepcadence.probe import Workload
from deepcadence.schedules import uniform
from deepcadence.search import CallSeconds, Candidate, SearchError, call_seconds, wall_speedups
from deepcadence.search.candidates import from_schedule
from deepcadence.search.timing import _clock
from tests import tiny
from tests.probe.test_transformers import workload as transformer_workload

SCHEDULE = from_schedule(uniform(4, 2, 1), origin="uniform", label="uniform", steps=4)
FEWER = Candidate(origin="fewer_steps", label="2 steps", calls=None, steps=2)


def test_ratios_are_taken_within_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = [(4.0, 2.0, 1.0), (8.0, 4.0, 2.0), (40.0, 20.0, 80.0), (6.0, 3.0, 2.0), (10.0, 1.0, 1.0)]
    durations = iter([seconds for each in rounds for seconds in each])  # plain, schedule, fewer steps
    ran: list[tuple[bool, int | None]] = []

    def timed(workload: Workload, seeds: Sequence[int], steps: int | None) -> float:
        assert tuple(seeds) == (0, 1)
        ran.append(("forward" in workload.pipeline.unet.__dict__, steps))
        return next(durations)

    monkeypatch.setattr("deepcadence.search.timing._timed", timed)
    workload = Workload(tiny.ddim_pipeline(), steps=4, seeds=(0, 1, 2), batch_size=2)
    assert wall_speedups(workload, [SCHEDULE, FEWER]) == [2.0, 4.0]
    assert ran == [(False, None), (True, 4), (False, 2)] * 5


def test_calls_are_timed_by_their_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    workload = Workload(tiny.ddim_pipeline(), steps=5, seeds=(0, 1))
    clock = iter(
        [when for start, took in [(0, 9), (20, 1), (30, 4), (40, 2), (50, 4)] for when in (start, start + took)]
        + [when for start, took in [(60, 4), (70, 3), (80, 4), (90, 3), (100, 4)] for when in (start, start + took)]
    )
    monkeypatch.setattr("deepcadence.search.timing.time", SimpleNamespace(perf_counter=lambda: float(next(clock))))
    told: list[tuple[str, int, int]] = []
    found = call_seconds(workload, (2, 0), progress=lambda *words: told.append(words))
    assert found == CallSeconds(
        full=4.0, partial={0: 1.5, 2: 3.0}, num_calls=5
    )  # medians: a slow first call does not count
    assert told == [("timing calls", 1, 2), ("timing calls", 2, 2)]
    assert not workload.pipeline.unet._forward_hooks
    assert not workload.pipeline.unet._forward_pre_hooks


def test_calls_of_both_sides_of_guidance_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    durations: list[list[float]] = []

    @contextmanager
    def clock(model: torch.nn.Module) -> Iterator[list[float]]:
        durations.append([5.0, 5.0, 1.0, 1.0, 5.0, 5.0])  # three calls, each for both sides
        yield durations[-1]

    monkeypatch.setattr("deepcadence.search.timing._clock", clock)
    found = call_seconds(transformer_workload("wan"), (0,))
    assert found == CallSeconds(full=5.0, partial={0: 1.0}, num_calls=3)
    assert len(durations) == 1


def test_each_call_of_the_denoiser_is_timed() -> None:
    workload = transformer_workload("wan")
    with _clock(workload.pipeline.transformer) as durations:
        workload.run()
    assert len(durations) == 6
    assert all(duration > 0 for duration in durations)


def test_on_a_real_pipeline() -> None:
    told: list[tuple[str, int, int]] = []
    workload = Workload(tiny.ddim_pipeline(), steps=4, seeds=(0, 1))
    speedups = wall_speedups(workload, [SCHEDULE, FEWER], progress=lambda *words: told.append(words))
    assert all(speedup > 0 for speedup in speedups)
    assert told[-1] == ("timing", 5, 5)
    assert "forward" not in workload.pipeline.unet.__dict__


def test_without_a_cut_there_is_nothing_to_time() -> None:
    workload = Workload(tiny.ddim_pipeline(), steps=4, seeds=(0,))
    with pytest.raises(SearchError, match="found no cut whose calls to time, expected at least one"):
        call_seconds(workload, ())
