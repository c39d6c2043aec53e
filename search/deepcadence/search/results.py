"""What a study found: typed records, read from its storage."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import optuna
from pydantic import BaseModel, ConfigDict, ValidationError

from deepcadence.schedules import ModelInfo, SamplerInfo
from deepcadence.search.agreement import Agreement, PredictorInfo, words
from deepcadence.search.candidates import Candidate, Origin
from deepcadence.search.errors import SearchError
from deepcadence.search.storage import IDENTITY, PREDICTOR, RECORD, reading


class TrialRecord(Candidate):
    """A finished trial: what ran, and what was measured on the search seeds.

    Attributes:
        number: of the trial in its study.
        psnr, ssim: means over the seeds.
        mean_macs: MACs of a run divided by the calls of the reference run, per sample.
        speedup: MACs of a full call divided by `mean_macs`.
        psnr_samples, ssim_samples: per seed, in the order of the study's seeds.
        seconds_per_sample: of the run that was measured.
        reused_from: the earlier trial with the same calls whose values these are; None if it was run.
        went_on: calls that the input made full, a mean over the seeds; 0 unless the schedule is adaptive.
        own, own_samples: mean and values per seed of the study's own quality function; None if it has none.
    """

    number: int
    psnr: float
    ssim: float
    mean_macs: float
    speedup: float
    psnr_samples: tuple[float, ...]
    ssim_samples: tuple[float, ...]
    seconds_per_sample: float
    reused_from: int | None = None
    went_on: float = 0.0
    own: float | None = None
    own_samples: tuple[float, ...] | None = None


class FailedTrial(BaseModel):
    """A trial that gave no figures (images that are not finite), and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    label: str
    error: str


class StudyResult(BaseModel):
    """A study: what it was about, and its finished trials by number.

    Attributes:
        metric: the quality that was maximized: "psnr", "ssim", or the name of a function of one's own.
        num_calls, steps, seeds: of the reference run.
        full_macs, partial_macs, counter, sample_shape: cost of a call, per sample, by the rules of `counter`.
        model, sampler: what was searched for (the sampler without timesteps).
        cuts: the cuts of the search space.
        failed: trials without figures.
        fingerprint: hash over the denoiser's weights, prompts and call arguments, see `identity`.
        predictor: what was predicted; None if the study was run without.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    study_name: str
    metric: str
    trials: tuple[TrialRecord, ...]
    failed: tuple[FailedTrial, ...]
    num_calls: int
    steps: int
    seeds: tuple[int, ...]
    cuts: tuple[int, ...]
    full_macs: int
    partial_macs: dict[int, int]
    counter: Literal["exact", "paper"]
    sample_shape: tuple[int, ...]
    model: ModelInfo
    sampler: SamplerInfo
    fingerprint: str
    predictor: PredictorInfo | None = None

    @property
    def evaluations(self) -> int:
        """Trials that were run, not reused: the search cost, in runs over all seeds (the reference is one more)."""
        return sum(trial.reused_from is None for trial in self.trials)

    @property
    def used_cuts(self) -> tuple[int, ...]:
        """The cuts of all trials."""
        return tuple(sorted({call for trial in self.trials for call in trial.calls or () if call != "full"}))

    @property
    def search_cost(self) -> float:
        """The search cost in plain runs over all seeds: MACs of all that was run, over those of the reference."""
        predictor = 0.0 if self.predictor is None else self.predictor.runs
        return 1.0 + predictor + sum(1 / trial.speedup for trial in self.trials if trial.reused_from is None)

    @property
    def agreement(self) -> Agreement | None:
        """How the predictor ranks what was measured; None without a predictor, or with too few trials."""
        if self.predictor is None:
            return None
        return self.predictor.agreement({trial.key: self.quality(trial) for trial in self.trials})

    @property
    def predictor_words(self) -> str | None:
        """The predictor's cost and how far it was right, in words; None if the study was run without."""
        return None if self.predictor is None else words(self.predictor, self.agreement)

    def quality(self, trial: TrialRecord, metric: str | None = None) -> float:
        """The trial's value of a metric; default: that of the study.

        Raises:
            SearchError: the study did not measure that metric.
        """
        metric = self.metric if metric is None else metric
        known: dict[str, float | None] = {"psnr": trial.psnr, "ssim": trial.ssim}
        known.setdefault(self.metric, trial.own)
        found = known.get(metric)
        if found is None:
            raise SearchError(f"study {self.study_name!r} has no quality {metric!r}; it has {', '.join(known)}")
        return found

    def trial(self, number: int) -> TrialRecord:
        """The finished trial of that number.

        Raises:
            SearchError: there is none.
        """
        for trial in self.trials:
            if trial.number == number:
                return trial
        raise SearchError(f"study {self.study_name!r} has no finished trial {number}")

    def front(self, *, origins: Iterable[Origin] | None = None) -> list[TrialRecord]:
        """The trials that no other beats in both quality and MACs, cheapest first.

        Args:
            origins: which trials compete; default: all that are schedules, so without fewer steps.
        """
        wanted = None if origins is None else set(origins)
        competing = [t for t in self.trials if (t.calls is not None if wanted is None else t.origin in wanted)]
        competing.sort(key=lambda trial: (trial.mean_macs, -self.quality(trial), trial.number))
        front: list[TrialRecord] = []
        for trial in competing:
            if not front or self.quality(trial) > self.quality(front[-1]):
                front.append(trial)
        return front

    @classmethod
    def from_storage(cls, storage: str | Path, study_name: str = "deepcadence") -> StudyResult:
        """Read a study, finished or not, from where it was run.

        Raises:
            SearchError: there is no such storage or study, or it is not one of deepcadence.
        """
        with reading(storage, study_name) as study:
            return cls.from_study(study)

    @classmethod
    def from_study(cls, study: optuna.Study) -> StudyResult:
        """Read an Optuna study that `run_study` made.

        Raises:
            SearchError: it is not one of deepcadence.
        """
        identity = study.user_attrs.get(IDENTITY)
        if not isinstance(identity, dict):
            raise SearchError(f"study {study.study_name!r} was not made by deepcadence")
        frozen = study.get_trials(deepcopy=False)
        try:
            return cls.model_validate(
                _fields(identity)
                | _trials(frozen)
                | {"study_name": study.study_name, "predictor": study.user_attrs.get(PREDICTOR)}
            )
        except (ValidationError, KeyError, TypeError) as error:
            raise SearchError(
                f"study {study.study_name!r} cannot be read; another version of deepcadence may have made it: {error}"
            ) from error


def _fields(identity: dict[str, Any]) -> dict[str, Any]:
    macs, space = identity["macs"], identity["space"]
    return {
        **{key: identity[key] for key in ("metric", "num_calls", "steps", "seeds", "model", "sampler")},
        "cuts": space["cuts"],
        "full_macs": macs["full"],
        "partial_macs": macs["partial"],
        "counter": macs["counter"],
        "sample_shape": macs["sample_shape"],
        "fingerprint": identity["fingerprint"],
    }


def _trials(frozen: list[optuna.trial.FrozenTrial]) -> dict[str, Any]:
    complete = [t for t in frozen if t.state == optuna.trial.TrialState.COMPLETE and RECORD in t.user_attrs]
    failed = [t for t in frozen if t.state == optuna.trial.TrialState.FAIL and "error" in t.user_attrs]
    return {
        "trials": [{**t.user_attrs[RECORD], "number": t.number} for t in complete],
        "failed": [{"number": t.number, **t.user_attrs["error"]} for t in failed],
    }
