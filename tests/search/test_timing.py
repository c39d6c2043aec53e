from __future__ import annotations

from collections.abc import Sequence

import pytest

from deepcadence.probe import Workload
from deepcadence.schedules import uniform
from deepcadence.search import Candidate, wall_speedups
from deepcadence.search.candidates import from_schedule
from tests import tiny

SCHEDULE = from_schedule(uniform(4, 2, 1), origin="uniform", label="uniform", steps=4)
FEWER = Candidate(origin="fewer_steps", label="2 steps", calls=None, steps=2)


def test_ratios_are_taken_within_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    durations = iter([4.0, 2.0, 1.0, 8.0, 4.0, 2.0, 40.0, 20.0, 80.0])  # plain, schedule, fewer steps; three rounds
    ran: list[tuple[bool, int | None]] = []

    def timed(workload: Workload, seeds: Sequence[int], steps: int | None) -> float:
        assert tuple(seeds) == (0, 1)
        ran.append(("forward" in workload.pipeline.unet.__dict__, steps))
        return next(durations)

    monkeypatch.setattr("deepcadence.search.timing._timed", timed)
    workload = Workload(tiny.ddim_pipeline(), steps=4, seeds=(0, 1, 2), batch_size=2)
    assert wall_speedups(workload, [SCHEDULE, FEWER]) == [2.0, 4.0]
    assert ran == [(False, None), (True, None), (False, 2)] * 3


def test_on_a_real_pipeline() -> None:
    told: list[tuple[str, int, int]] = []
    workload = Workload(tiny.ddim_pipeline(), steps=4, seeds=(0, 1))
    speedups = wall_speedups(workload, [SCHEDULE, FEWER], progress=lambda *words: told.append(words))
    assert all(speedup > 0 for speedup in speedups)
    assert told[-1] == ("timing", 3, 3)
    assert "forward" not in workload.pipeline.unet.__dict__
