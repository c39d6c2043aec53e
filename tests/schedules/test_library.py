"""The schedules that come along."""

from __future__ import annotations

import pytest

from deepcadence.probe import load_pipeline
from deepcadence.schedules import ScheduleError, cached, preset, presets
from deepcadence.schedules.library import LIBRARY
from deepcadence.schedules.library.write_published import published

OURS = [name for name in presets() if name not in published()]


def test_published_files_are_fresh_and_claim_no_quality() -> None:
    for name, schedule in published().items():
        assert (LIBRARY / f"{name}.json").read_text(encoding="utf-8") == schedule.dumps(), name
        assert schedule.quality is None
        assert schedule.created is not None
        assert "published, not measured by us" in schedule.created.by


@pytest.mark.parametrize(
    ("name", "calls", "full", "pair"),
    [
        ("ldm-4-g-n10", 250, 25, (110, 1.2)),
        ("sd15-row1-n5", 50, 10, (10, 1.5)),
        ("sd15-row2-n8", 50, 7, (20, 1.3)),
        ("sd15-script-n5", 50, 10, (15, 1.4)),
    ],
)
def test_published_ones_are_those_of_the_paper(name: str, calls: int, full: int, pair: tuple[float, float]) -> None:
    schedule = preset(name)
    made = schedule.generator
    assert made is not None
    assert (made.center, made.power, made.formula) == (*pair, "released")
    assert (schedule.num_calls, len(schedule.full_calls), schedule.cuts) == (calls, full, (0,))


@pytest.mark.parametrize("name", OURS)
def test_ours_fit_the_bundled_model_and_are_measured_on_held_out_seeds(name: str) -> None:
    schedule = preset(name)
    assert schedule.quality
    assert {quality.seeds for quality in schedule.quality} == {"held-out"}
    with cached(load_pipeline("bundled"), schedule):
        pass


def test_there_are_some_of_each_and_no_others() -> None:
    assert OURS
    assert len(published()) == 20
    with pytest.raises(
        ScheduleError, match=r"preset: found 'x', expected one of bundled-1\.5x, bundled-2x, bundled-3x"
    ):
        preset("x")
    with pytest.raises(ScheduleError, match="preset"):
        preset("../library/bundled-2x")
