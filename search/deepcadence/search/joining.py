"""Joining a study that someone else began, knowing no more than where it is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna

from deepcadence.probe import Workload, WorkloadError
from deepcadence.search.checking import check_contents, check_directions, contents_named
from deepcadence.search.errors import SearchError
from deepcadence.search.evaluate import Evaluator, Progress
from deepcadence.search.identity import StudyIdentity, check_identity, study_identity
from deepcadence.search.quality import QualityFunction, check_function
from deepcadence.search.results import StudyResult, TrialRecord
from deepcadence.search.sampler import TrialSeeded
from deepcadence.search.settings import StudySettings
from deepcadence.search.storage import failures_named, open_storage, quiet
from deepcadence.search.study import take_part

_ADVICE = "a worker must bring what the study was begun with"


def join_study(
    pipeline: Any,
    storage: str | Path,
    *,
    study_name: str = "deepcadence",
    quality: QualityFunction | None = None,
    call_kwargs: Mapping[str, Any] | None = None,
    batch_size: int | None = None,
    pictures: Path | None = None,
    progress: Progress | None = None,
    on_trial: Callable[[TrialRecord], None] | None = None,
) -> StudyResult:
    """Take part in a study until it is complete. Steps, seeds, prompts and all settings are those of the study.

    Any number of processes on any number of machines may do so, from the moment that `run_study` has begun.

    Args:
        pipeline: the same model and sampler as in the study.
        storage: where the study is kept, see `open_storage`.
        study_name: of the study in the storage.
        quality: the study's own quality function, if it has one.
        call_kwargs: as in the study's workload; a storage does not hold images and tensors.
        batch_size: samples in one call of the pipeline; default: that of the study.
        pictures: as in `run_study`.
        progress: as in `run_study`.
        on_trial: told each trial that this process finished.

    Raises:
        SearchError: there is no such study yet, or pipeline or call arguments are others than those of the study.
    """
    settings = StudySettings.from_storage(storage, study_name)
    with quiet(), failures_named(study_name), contents_named(study_name):
        study = optuna.load_study(
            study_name=study_name,
            storage=open_storage(storage, heartbeat=settings.heartbeat),
            sampler=TrialSeeded(settings.sampler, settings.seed),
        )
        check_directions(study)
        identity = StudyIdentity.from_study(study)
        check_contents(study)
    check_function(identity.metric, quality)
    workload = _workload(pipeline, identity, settings, call_kwargs, batch_size, study_name)
    space, macs = identity.search_space(), identity.costs()
    keep = pictures is not None
    evaluator = Evaluator(workload, macs=macs, quality=quality, keep_images=keep, share=True, progress=progress)
    found = study_identity(workload, space, macs, identity.metric)
    check_identity(study, found, advice=_ADVICE)  # before anything is run, and then with what a run shows
    check_identity(study, found | {"num_calls": evaluator.num_calls}, advice=_ADVICE)
    return take_part(study, evaluator, space, identity.metric, settings, progress, on_trial, pictures)


def _workload(
    pipeline: Any,
    identity: StudyIdentity,
    settings: StudySettings,
    call_kwargs: Mapping[str, Any] | None,
    batch_size: int | None,
    study_name: str,
) -> Workload:
    try:
        return Workload(
            pipeline,
            steps=identity.steps,
            seeds=identity.seeds,
            prompts=settings.prompts,
            call_kwargs=call_kwargs or {},
            batch_size=batch_size or settings.batch_size,
        )
    except WorkloadError as error:
        raise SearchError(f"study {study_name!r}: {error}") from error
