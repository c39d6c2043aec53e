"""What a worker must know to take part in a study, kept in the study."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import optuna
from pydantic import BaseModel, ConfigDict, ValidationError

from deepcadence.probe import Workload
from deepcadence.schedules import denoiser
from deepcadence.search.errors import SearchError
from deepcadence.search.sampler import Sampler
from deepcadence.search.storage import SETTINGS, reading


class StudySettings(BaseModel):
    """How to run a study, beside what its identity says.

    Attributes:
        trials, seed, heartbeat, max_uniform, max_published, fewer_steps: as `run_study` was given them.
        max_predicted, target_speedup, sampler, racing: likewise.
        prompts, batch_size: of the workload.
        dtype: of the denoiser, such as "float16".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    trials: int
    seed: int
    heartbeat: int
    max_uniform: int
    max_published: int
    fewer_steps: tuple[int, ...] | None
    max_predicted: int
    target_speedup: float | None
    sampler: Sampler
    racing: bool
    prompts: tuple[str, ...]
    batch_size: int
    dtype: str

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
        try:
            return cls.model_validate(found)
        except ValidationError as error:
            raise SearchError(
                f"the settings of study {study.study_name!r} cannot be read; another version of deepcadence may have "
                f"written them: {error}"
            ) from error


def dtype_of(workload: Workload) -> str:
    """The denoiser's type, such as "float16"."""
    return str(next(denoiser(workload.pipeline).parameters()).dtype).removeprefix("torch.")
