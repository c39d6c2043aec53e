"""What a study found: typed records, read from its storage."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import optuna
from pydantic import Field, ValidationError, model_validator

from deepcadence.probe import Setup
from deepcadence.schedules import ModelInfo, SamplerInfo, ScheduleError
from deepcadence.schedules.fields import Count, Cut, CutKey, Text, problem
from deepcadence.search import repeatable
from deepcadence.search.agreement import Agreement, PredictorInfo, words
from deepcadence.search.candidates import Candidate, Origin
from deepcadence.search.errors import SearchError
from deepcadence.search.fields import Escaped, Finite, Positive, Record, Whole, problems
from deepcadence.search.racing import RacedOut
from deepcadence.search.repeatable import beside_others, died
from deepcadence.search.storage import EARLIER, IDENTITY, PREDICTOR, RACED_OUT, RECORD, SETUP, reading


class TrialRecord(Candidate):
    """A finished trial: what ran, and what was measured on the search seeds.

    Attributes:
        number: of the trial in its study.
        psnr, ssim: means over the seeds.
        mean_macs: MACs of a run divided by the calls of the reference run, per sample.
        speedup: MACs of a full call divided by `mean_macs`.
        psnr_samples, ssim_samples: per seed, in the order of the study's seeds.
        seconds_per_sample: of the run that was measured; less than the schedule takes where calls were replayed.
        reused_from: the earlier trial with the same calls whose values these are; None if it was run.
        went_on: calls that the input made full, a mean over the seeds; 0 unless the schedule is adaptive.
        calls_replayed: calls of a run that were not computed, since an earlier run had begun alike: a mean over the
            seeds.
        macs_replayed: what these would have taken, of `mean_macs`.
        own, own_samples: mean and values per seed of the study's own quality function; None if it has none.
    """

    number: Whole
    psnr: Finite
    ssim: Finite
    mean_macs: Positive
    speedup: Positive
    psnr_samples: tuple[Finite, ...]
    ssim_samples: tuple[Finite, ...]
    seconds_per_sample: Finite
    reused_from: Whole | None = None
    went_on: Finite = 0.0
    calls_replayed: Finite = 0.0
    macs_replayed: Finite = 0.0
    own: Finite | None = None
    own_samples: tuple[Finite, ...] | None = None


class FailedTrial(Record):
    """A trial that gave no figures (images that are not finite), and why."""

    number: Whole
    label: Text
    error: Escaped


class StudyResult(Record):
    """A study: what it was about, and its finished trials by number.

    Attributes:
        metric: the quality that was maximized: "psnr", "ssim", or the name of a function of one's own.
        num_calls, steps, seeds: of the reference run.
        full_macs, partial_macs, counter, sample_shape: cost of a call, per sample, by the rules of `counter`.
        model, sampler: what was searched for (the sampler without timesteps).
        cuts: the cuts of the search space.
        failed: trials without figures.
        raced_out: trials that were given up after some of the seeds, since they cannot reach the front.
        fingerprint: hash over the denoiser's weights, prompts and call arguments, see `identity`.
        predictor: what was predicted; None if the study was run without.
        setup: with which command and versions, on which machine, it was last begun or resumed; empty in older studies.
        earlier_setups: those before that, where versions or machine were others.
        beside_others: trials that ran while another one did.
        died: trials that ended without a result, see `repeatable.died`.
    """

    study_name: Text
    metric: Text
    trials: tuple[TrialRecord, ...]
    failed: tuple[FailedTrial, ...]
    raced_out: tuple[RacedOut, ...] = ()
    num_calls: Count
    steps: Count
    seeds: Annotated[tuple[Whole, ...], Field(min_length=1)]
    cuts: tuple[Cut, ...]
    full_macs: Count
    partial_macs: dict[CutKey, Count]
    counter: Literal["exact", "paper"]
    sample_shape: tuple[Count, ...]
    model: ModelInfo
    sampler: SamplerInfo
    fingerprint: Text
    predictor: PredictorInfo | None = None
    setup: Setup = Setup()
    earlier_setups: tuple[Setup, ...] = ()
    beside_others: Whole = 0
    died: Whole = 0

    @model_validator(mode="after")
    def _cuts_are_known(self) -> Self:
        known = self.model.cuts.keys() & self.partial_macs.keys()
        for index, trial in enumerate(self.trials):
            for cut in {call for call in trial.calls or () if call != "full"} - known:
                cuts = ", ".join(map(str, sorted(known)))
                raise problem(f"one that the study names and counts ({cuts})", f"trials[{index}].calls", f"cut {cut}")
        return self

    @property
    def evaluations(self) -> int:
        """Schedules and step counts that were run, each once, to the end or until they were given up."""
        return len(self._run)

    @property
    def evaluations_saved(self) -> float:
        """Runs over all seeds that the trials did without: known ones, and what was left of those given up."""
        known = sum(trial.reused_from is not None for trial in self._ended)
        return known + sum(1 - self._part(trial) for trial in self._run)

    @property
    def savings_words(self) -> str:
        """Which evaluations the study saved, in words."""
        count = len(self._ended)
        known = sum(trial.reused_from is not None for trial in self._ended)
        raced = sum(trial.reused_from is None for trial in self.raced_out)
        return (
            f"Of {count} trials {known} had calls that were measured before, and {raced} were given up before their "
            f"last seed, which saved {self.evaluations_saved:.1f} of {count} evaluations. For each seed, "
            f"{self.calls_replayed:.0f} of {self.calls_run:.0f} calls of the denoiser were not computed, since an "
            "earlier run had begun alike."
        )

    @property
    def repeatable_words(self) -> str | None:
        """What keeps the same command from giving the same study on the same machine, in words; None if nothing."""
        return repeatable.words(self.beside_others, len(self.earlier_setups), self.died)

    @property
    def calls_run(self) -> float:
        """Calls of the denoiser in all trials that were run, a mean over the seeds."""
        return sum(self._part(trial) * self._calls(trial) for trial in self._run)

    @property
    def calls_replayed(self) -> float:
        """Those of them whose output an earlier run had computed: `search_cost` is without them."""
        return sum(self._part(trial) * trial.calls_replayed for trial in self._run)

    def _calls(self, trial: TrialRecord | RacedOut) -> float:
        """Of one run of the trial; with fewer steps it has full calls only."""
        return self.num_calls * trial.mean_macs / self.full_macs if trial.calls is None else len(trial.calls)

    @property
    def _run(self) -> list[TrialRecord | RacedOut]:
        return [trial for trial in self._ended if trial.reused_from is None]

    @property
    def _ended(self) -> list[TrialRecord | RacedOut]:
        return [*self.trials, *self.raced_out]

    @property
    def used_cuts(self) -> tuple[int, ...]:
        """The cuts of all trials."""
        return tuple(sorted({call for trial in self.trials for call in trial.calls or () if call != "full"}))

    @property
    def search_cost(self) -> float:
        """The search cost in plain runs over all seeds: MACs of all that was run, over those of the reference."""
        predictor = 0.0 if self.predictor is None else self.predictor.runs
        macs = sum(self._part(trial) * (trial.mean_macs - trial.macs_replayed) for trial in self._run)
        return 1.0 + predictor + macs / self.full_macs

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

    def _part(self, trial: TrialRecord | RacedOut) -> float:
        """Of the seeds, those that the trial was run on."""
        return trial.samples / len(self.seeds) if isinstance(trial, RacedOut) else 1.0

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
                | {"setup": study.user_attrs.get(SETUP, {}), "earlier_setups": study.user_attrs.get(EARLIER, ())}
                | {"beside_others": beside_others(frozen), "died": died(frozen)}
            )
        except (ValidationError, ScheduleError) as error:
            raise SearchError(problems(f"study {study.study_name!r}", error)) from error
        except (KeyError, TypeError) as error:
            raise SearchError(
                f"study {study.study_name!r} cannot be read; another version of deepcadence may have made it: {error!r}"
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
    raced = [t for t in frozen if t.state == optuna.trial.TrialState.PRUNED and RACED_OUT in t.user_attrs]
    return {
        "trials": [{**t.user_attrs[RECORD], "number": t.number} for t in complete],
        "raced_out": [{**t.user_attrs[RACED_OUT], "number": t.number} for t in raced],
        "failed": [{"number": t.number, **t.user_attrs["error"]} for t in failed],
    }
