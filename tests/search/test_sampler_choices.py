"""Studies that search how the sampler runs and what the input decides, to the file at the end."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepcadence.probe import Workload
from deepcadence.search import StudyResult, export_front, finalize, join_study, run_study
from tests import tiny


@pytest.fixture(scope="module")
def small() -> Workload:
    return Workload(tiny.ddim_pipeline(), steps=6, seeds=(0, 1), batch_size=2)


def study(workload: Workload, storage: Path, trials: int = 3) -> StudyResult:
    return run_study(
        workload, storage=storage, trials=trials, max_uniform=1, max_published=0, fewer_steps=(), max_predicted=0,
        cuts=(0,), orders=(), thresholds=(0.4,), max_holds=(3,), steps=(4,), spacings=("trailing",),
    )  # fmt: skip


def test_the_file_says_steps_spacing_and_what_was_compared(small: Workload, storage: Path, tmp_path: Path) -> None:
    result = study(small, storage)
    fewer = next(trial for trial in result.trials if trial.steps == 4)
    assert (fewer.origin, fewer.spacing, fewer.threshold, fewer.max_hold) == ("adaptive", "trailing", 0.4, 3)
    held_out = finalize(small, result, fewer, seeds=(7, 8))
    row, schedule = held_out.chosen, held_out.schedule
    assert schedule.sampler is not None
    assert schedule.cost is not None
    assert (schedule.sampler.steps, schedule.sampler.timestep_spacing) == (4, "trailing")
    assert len(schedule.sampler.timesteps or ()) == schedule.num_calls == 4
    assert schedule.cost.reference_calls == 6
    assert schedule.cost.speedup == pytest.approx(row.speedup)
    assert schedule.cost.mean_macs == pytest.approx(row.mean_macs * 6 / 4)
    assert row.full_calls + row.partial_calls == 4
    assert [quality.reference for quality in schedule.quality or ()] == ["full, 6 steps"] * 2
    assert held_out.fewer_steps is None or held_out.fewer_steps.spacing == "trailing"
    written = export_front(small, result, tmp_path / "front")
    assert written

    assert join_study(small.pipeline, storage, batch_size=2) == result  # the space survives the database
    assert study(small, storage) == result
