from __future__ import annotations

import pytest

from deepcadence.probe import WorkloadError, spaced
from tests import tiny


def test_the_scheduler_is_another_one_inside_and_the_same_after() -> None:
    pipe = tiny.ddim_pipeline()
    own = pipe.scheduler
    with spaced(pipe, "trailing"):
        assert pipe.scheduler.config.timestep_spacing == "trailing"
        assert pipe.scheduler.config.num_train_timesteps == own.config.num_train_timesteps
    assert pipe.scheduler is own
    with pytest.raises(ZeroDivisionError), spaced(pipe, "trailing"):
        1 / 0  # noqa: B018
    assert pipe.scheduler is own
    with spaced(pipe, None):
        assert pipe.scheduler is own


def test_what_cannot_be_is_said() -> None:
    pipe = tiny.ddim_pipeline()
    with pytest.raises(WorkloadError, match="found 'wide', expected one of leading"), spaced(pipe, "wide"):
        pass
    with pytest.raises(WorkloadError, match="object has no timestep_spacing"), spaced(object(), "leading"):
        pass
