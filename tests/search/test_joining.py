"""Joining a study with no more than a pipeline and the place of the study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest

from deepcadence.probe import Workload
from deepcadence.search import SearchError, StudyResult, StudySettings, TrialRecord, join_study, run_study
from deepcadence.search.storage import SETTINGS
from tests import tiny
from tests.search.test_study import SMALL


@pytest.fixture
def begun(workload: Workload, storage: Path) -> Path:
    """A study that was stopped after one of its three search trials."""
    run_study(workload, storage=storage, trials=1, seed=7, **SMALL)
    study = optuna.load_study(study_name="deepcadence", storage=f"sqlite:///{storage}")
    study.set_user_attr(SETTINGS, study.user_attrs[SETTINGS] | {"trials": 3})
    return storage


def test_a_worker_does_what_the_study_wants(workload: Workload, begun: Path) -> None:
    own: list[TrialRecord] = []
    result = join_study(tiny.ddim_pipeline(), begun, on_trial=own.append)
    assert [t.label for t in result.trials] == [t.label for t in run_study(workload, trials=3, seed=7, **SMALL).trials]
    assert [t.number for t in own] == [t.number for t in result.trials][-2:]
    assert result == StudyResult.from_storage(begun)
    assert join_study(tiny.ddim_pipeline(), begun, on_trial=own.append) == result
    assert len(own) == 2


def test_settings_say_how_the_study_is_run(workload: Workload, begun: Path) -> None:
    assert StudySettings.from_storage(begun) == StudySettings(
        trials=3,
        seed=7,
        heartbeat=30,
        max_uniform=2,
        max_published=1,
        fewer_steps=(3,),
        max_predicted=0,
        target_speedup=None,
        sampler="gp",
        racing=True,
        prompts=(),
        batch_size=2,
        dtype="float32",
    )


def test_another_model_or_other_settings_are_refused_by_name(begun: Path) -> None:
    before = StudyResult.from_storage(begun)

    def refused(pipeline: Any, message: str, **arguments: Any) -> None:
        with pytest.raises(SearchError, match=message):
            join_study(pipeline, begun, **arguments)

    refused(
        tiny.ddim_pipeline(block_out_channels=(16, 48)),
        r"another model: model\.config_sha256 is .\w+., expected .\w+. as in the study; a worker must bring",
    )
    refused(tiny.ddim_pipeline(layers_per_block=1), "another model")
    refused(
        tiny.ddim_pipeline(seed=5),
        r"other weights, another dtype, other prompts or other call arguments \(--call\); a worker must bring what",
    )
    refused(tiny.ddim_pipeline(), "other call arguments", call_kwargs={"eta": 0.5})
    refused(tiny.ddpm_pipeline(), "another sampler")
    changed = tiny.ddim_pipeline()
    changed.unet.half()
    refused(changed, "another dtype")
    refused(tiny.ddim_pipeline(), "no study 'mine'; it holds: 'deepcadence'", study_name="mine")
    assert StudyResult.from_storage(begun) == before


def test_what_was_never_begun_cannot_be_joined(storage: Path, tmp_path: Path) -> None:
    with pytest.raises(SearchError, match="no such file"):
        join_study(tiny.ddim_pipeline(), tmp_path / "none.db")
    with pytest.raises(SearchError, match="holds no study 'deepcadence'"):
        join_study(tiny.ddim_pipeline(), storage)
    optuna.create_study(storage=f"sqlite:///{storage}", study_name="theirs")
    with pytest.raises(SearchError, match="does not say how to run it"):
        join_study(tiny.ddim_pipeline(), storage, study_name="theirs")
