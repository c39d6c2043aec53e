"""What a study holds, checked before it is gone on with: whoever kept it may have changed it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from sqlalchemy.exc import SQLAlchemyError

from deepcadence.schedules import DeepcadenceError
from deepcadence.schedules.fields import Text, describe
from deepcadence.search.candidates import Candidate
from deepcadence.search.errors import SearchError
from deepcadence.search.fields import Finite, Whole, problems
from deepcadence.search.objective import CANDIDATE
from deepcadence.search.results import StudyResult, TrialRecord
from deepcadence.search.storage import reason

_DIRECTIONS = [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]


class _OfOptuna(BaseModel):
    """What Optuna notes down of a trial that was queued, or queued again."""

    model_config = ConfigDict(extra="ignore", strict=True)

    fixed_params: dict[str, Finite | str | None] = {}
    failed_trial: Whole = 0
    retry_history: list[Whole] = []


def check_name(study_name: str) -> None:
    """Raise `SearchError` unless the name of a study can be shown."""
    try:
        TypeAdapter(Text).validate_python(study_name)
    except ValidationError as error:
        raise SearchError(f"study_name: found {describe(study_name)}, expected text on one line") from error


@contextmanager
def contents_named(study_name: str) -> Iterator[None]:
    """`SearchError` for what Optuna stumbles over in a study, as it takes what is stored at its word.

    A database that fails is another matter, see `failures_named`.
    """
    try:
        yield
    except (DeepcadenceError, optuna.exceptions.OptunaError, SQLAlchemyError):
        raise
    except Exception as error:
        raise SearchError(f"study {study_name!r} cannot be gone on with: {reason(error)}") from error


def check_directions(study: optuna.Study) -> None:
    """Raise `SearchError` unless the study maximizes the quality and minimizes the cost."""
    if study.directions != _DIRECTIONS:
        found = ", ".join(direction.name.lower() for direction in study.directions)
        raise SearchError(
            f"study {study.study_name!r} was not made by deepcadence: its directions are {found}, expected maximize, "
            "minimize; give another study name"
        )


def check_contents(study: optuna.Study) -> None:
    """Check what all trials of a study say, finished or not, as far as a search relies on it.

    Raises:
        SearchError: names the study and the place.
    """
    result = StudyResult.from_study(study)
    for record in result.trials:
        _check_samples(result, record)
    for trial in study.get_trials(deepcopy=False):
        _check_trial(study.study_name, trial, predicts=result.predictor is not None)


def _check_samples(result: StudyResult, record: TrialRecord) -> None:
    """Raise `SearchError` unless a record has a value of the study's metric, and one for each seed."""
    own = result.metric not in ("psnr", "ssim")
    place = f"study {result.study_name!r}: trial {record.number}"
    if own and record.own is None:
        raise SearchError(f"{place}: own: found null, expected a number, as the study's metric is {result.metric!r}")
    samples: dict[str, tuple[float, ...] | None] = {"psnr": record.psnr_samples, "ssim": record.ssim_samples}
    for name, values in (samples | ({"own": record.own_samples} if own else {})).items():
        if len(values or ()) != len(result.seeds):
            raise SearchError(
                f"{place}: {name}_samples: found {len(values or ())} values, expected {len(result.seeds)}, one for "
                "each seed"
            )


def _check_trial(study_name: str, trial: FrozenTrial, *, predicts: bool) -> None:
    place = f"study {study_name!r}: trial {trial.number}"
    _validated(_OfOptuna, trial.system_attrs, place)
    if trial.state == TrialState.COMPLETE and not all(map(math.isfinite, trial.values)):
        raise SearchError(f"{place}: values: found {trial.values}, expected finite numbers")
    if trial.state == TrialState.COMPLETE and len(trial.values) != len(_DIRECTIONS):
        raise SearchError(f"{place}: values: found {len(trial.values)}, expected {len(_DIRECTIONS)}")
    if CANDIDATE not in trial.user_attrs:
        return
    candidate = _validated(Candidate, trial.user_attrs[CANDIDATE], f"{place}: {CANDIDATE}")
    if candidate.origin == "predicted" and not predicts:
        raise SearchError(f"{place}: {CANDIDATE}: found a predicted schedule, expected none without a predictor")


def _validated(kind: Any, found: Any, place: str) -> Any:
    try:
        return kind.model_validate(found)
    except ValidationError as error:
        raise SearchError(problems(place, error)) from error
