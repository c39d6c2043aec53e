"""Models of CompVis, which have no configuration and belong to no pipeline of diffusers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from deepcadence.probe import count_macs, record
from deepcadence.schedules import ScheduleError, UnsupportedModelError, cached, family_of, model_info, uniform
from tests import tiny
from tests.schedules import compvis


def inputs_of(model: Any, seed: int) -> dict[str, Any]:
    return family_of(model).example_inputs(model, batch=2, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
@pytest.mark.parametrize("cut", range(6))
def test_it_runs_under_a_schedule(cut: int) -> None:
    model = compvis.unet("text")
    inputs, others = inputs_of(model, 0), inputs_of(model, 1)
    views = family_of(model).views(model, [cut])
    expected = views.partial(cut, views.full(**inputs)[1][cut], **others)
    with cached(model, uniform(2, 2, cut)) as run:
        assert torch.equal(model(**inputs), compvis.unet("text")(**inputs))
        assert torch.equal(model(**others), expected)
    assert (run.stats.full, run.stats.partial) == (1, 1)
    assert "forward" not in model.__dict__


@torch.no_grad()
def test_samples_may_be_changed_in_place() -> None:
    model = compvis.unet("text")
    inputs = inputs_of(model, 0)
    with cached(model, uniform(4, 4, 1)) as run:
        for step in range(4):
            model(**{**inputs, "timesteps": torch.full((2,), 900.0 - step)})
            inputs["x"].add_(0.1)
    assert (run.stats.full, run.stats.partial, run.stats.forced) == (1, 3, ())


def test_a_schedule_knows_it_by_its_class(tmp_path: Path) -> None:
    model = compvis.unet()
    info = model_info(model, family_of(model).cuts(model))
    assert (info.class_name, info.config_sha256) == ("UNetModel", None)
    assert info.cuts[0] == "output_blocks.5"
    file = tmp_path / "schedule.json"
    uniform(4, 2, 1).model_copy(update={"model": info}).save(file)
    with cached(model, file):
        pass
    other = model_info(tiny.unet2d(), {1: "up_blocks.1.resnets.1"})
    uniform(4, 2, 1).model_copy(update={"model": other}).save(file)
    with pytest.raises(ScheduleError, match="model\\.class"), cached(model, file):
        pass


def test_its_macs_grow_with_the_cut() -> None:
    macs = count_macs(compvis.unet())
    figures = [*macs.partial.values(), macs.full]
    assert figures == sorted(figures)
    assert macs.sample_shape == (4, 8, 8)
    assert macs.feature_shapes[5] == (32, 4, 4)
    assert count_macs(compvis.unet(), size=(16, 16)).full > 3 * macs.full


def test_its_features_are_recorded() -> None:
    model = compvis.unet("classes")
    with torch.no_grad(), record(model, [0, 5], max_distance=1) as recording:
        for seed in (0, 1):
            model(**inputs_of(model, seed))
    assert recording.timestep_numbers() == (500.0, 500.0)
    assert recording.features[5][1].shape == (2, 32, 4, 4)
    assert recording.errors is not None
    assert recording.errors.matrices(2, 2)[0][:, 0, 1].gt(0).all()


def test_without_a_size_one_must_be_given() -> None:
    model = compvis.unet()
    del model.image_size
    with pytest.raises(UnsupportedModelError, match="no image_size"):
        inputs_of(model, 0)
