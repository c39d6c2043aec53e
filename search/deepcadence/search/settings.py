"""What a worker must know to take part in a study, kept in the study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Self

import optuna
from pydantic import Field, ValidationError

from deepcadence.probe import Workload
from deepcadence.schedules import MAX_CALLS, denoiser
from deepcadence.schedules.fields import Count, Text
from deepcadence.search.errors import SearchError
from deepcadence.search.fields import Positive, Prompt, Record, Whole, problems
from deepcadence.search.sampler import Sampler
from deepcadence.search.storage import SETTINGS, reading

_MAX_HEARTBEAT = 10**6  # seconds: threads cannot wait for any number of them
_Few = Annotated[int, Field(ge=0, le=MAX_CALLS)]


class StudySettings(Record):
    """How to run a study, beside what its identity says.

    Attributes:
        trials, seed, heartbeat, max_uniform, max_published, fewer_steps: as `run_study` was given them.
        max_predicted, target_speedup, sampler, racing: likewise.
        prompts, batch_size: of the workload.
        dtype: of the denoiser, such as "float16".
    """

    trials: Whole
    seed: Whole
    heartbeat: Annotated[int, Field(ge=1, le=_MAX_HEARTBEAT)]
    max_uniform: _Few
    max_published: _Few
    fewer_steps: tuple[_Few, ...] | None
    max_predicted: _Few
    target_speedup: Positive | None
    sampler: Sampler
    racing: bool
    prompts: tuple[Prompt, ...]
    batch_size: Count
    dtype: Text

    @classmethod
    def from_storage(cls, storage: str | Path, study_name: str = "deepcadence") -> Self:
        """Read them from the storage of a study.

        Raises:
            SearchError: there is no such study yet, or it is not one of deepcadence.
        """
        with reading(storage, study_name) as study:
            return cls.from_study(study)

    @classmethod
    def from_study(cls, study: optuna.Study) -> Self:
        """Read them from an Optuna study; errors as in `from_storage`."""
        found = study.user_attrs.get(SETTINGS)
        if found is None:
            raise SearchError(
                f"study {study.study_name!r} does not say how to run it; start it with `deepcadence search` or "
                "`run_study` first"
            )
        return cls.of(study.study_name, found)

    @classmethod
    def of(cls, study_name: str, found: dict[str, Any]) -> Self:
        """The settings of a study, checked.

        Raises:
            SearchError: says which is wrong.
        """
        try:
            return cls.model_validate(found)
        except ValidationError as error:
            raise SearchError(problems(f"the settings of study {study_name!r}", error)) from error


def dtype_of(workload: Workload) -> str:
    """The denoiser's type, such as "float16"."""
    return str(next(denoiser(workload.pipeline).parameters()).dtype).removeprefix("torch.")
