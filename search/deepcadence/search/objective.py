"""The objective: run what a trial asks for, once per list of calls."""

from __future__ import annotations

from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from deepcadence.search.candidates import Candidate
from deepcadence.search.errors import SearchError
from deepcadence.search.evaluate import Evaluator, Measurement
from deepcadence.search.results import Metric
from deepcadence.search.space import SearchSpace
from deepcadence.search.storage import RECORD, WORKER
from deepcadence.search.workers import this_worker

CANDIDATE = "candidate"
"""Trial attribute of an enqueued baseline: what to run."""
ERROR = "error"
"""Trial attribute of a trial that failed for good: its label, and why."""


class DroppedTrialError(SearchError):
    """A trial that another worker queued or ran already: it does not count."""


class Objective:
    """Called by Optuna; returns (quality, mean MACs).

    Args:
        evaluator: runs things.
        space: where search trials come from.
        metric: quality to return.
        trials: how many search trials the study is to have; what parallel workers begin beyond that is dropped.
    """

    def __init__(self, evaluator: Evaluator, space: SearchSpace, metric: Metric, trials: int) -> None:
        self._evaluator = evaluator
        self._space = space
        self._metric: Metric = metric
        self._trials = trials
        self.last_number: int | None = None

    def prepare(self) -> None:
        """Run the reference, if that was not done: its failure is the study's, not a trial's."""
        _ = self._evaluator.reference

    def __call__(self, trial: optuna.Trial) -> tuple[float, float]:
        self.last_number = trial.number
        trial.set_user_attr(WORKER, this_worker())
        others = trial.study.get_trials(deepcopy=False)
        candidate = self._candidate(trial, others)
        twin = _finished_twin(candidate, others)
        try:
            record = _reused(candidate, twin) if twin is not None else self._measure(candidate)
        except SearchError as error:
            trial.set_user_attr(ERROR, {"label": candidate.label, "error": str(error)})
            raise
        trial.set_user_attr(RECORD, record)
        return float(record[self._metric]), float(record["mean_macs"])

    def _candidate(self, trial: optuna.Trial, others: list[FrozenTrial]) -> Candidate:
        data = trial.user_attrs.get(CANDIDATE)
        if data is not None:
            candidate = Candidate.model_validate(data)
            if any(is_alive(t) and t.number < trial.number and t.user_attrs.get(CANDIDATE) == data for t in others):
                raise DroppedTrialError(f"baseline {candidate.label!r} was queued twice")
            self._space.tell_baseline(trial, candidate)
            return candidate
        if sum(is_alive(t) and is_search(t) and t.number < trial.number for t in others) >= self._trials:
            raise DroppedTrialError(f"the study has its {self._trials} trials")
        return self._space.suggest(trial)

    def _measure(self, candidate: Candidate) -> dict[str, Any]:
        if candidate.calls is None:
            measured = self._evaluator.measure_fewer_steps(candidate.steps)
        else:
            measured = self._evaluator.measure(candidate.schedule())
        return candidate.model_dump(mode="json") | _figures(measured)


def is_search(trial: FrozenTrial) -> bool:
    """Whether the search proposed the trial; else it is a baseline."""
    return CANDIDATE not in trial.user_attrs


def is_alive(trial: FrozenTrial) -> bool:
    """Whether the trial is finished for good or on its way there; else its worker died, or it was dropped."""
    return trial.state != TrialState.FAIL or ERROR in trial.user_attrs


def _finished_twin(candidate: Candidate, others: list[FrozenTrial]) -> FrozenTrial | None:
    for trial in others:
        record = trial.user_attrs.get(RECORD)
        if trial.state != TrialState.COMPLETE or record is None or record["reused_from"] is not None:
            continue
        if Candidate(**{name: record[name] for name in Candidate.model_fields}).key == candidate.key:
            return trial
    return None


def _reused(candidate: Candidate, twin: FrozenTrial) -> dict[str, Any]:
    own = candidate.model_dump(mode="json")
    return {**twin.user_attrs[RECORD], **own, "reused_from": twin.number}


def _figures(measured: Measurement) -> dict[str, Any]:
    return {
        "psnr": float(measured.psnr.double().mean()),
        "ssim": float(measured.ssim.double().mean()),
        "mean_macs": measured.mean_macs,
        "speedup": measured.speedup,
        "psnr_samples": [round(float(value), 5) for value in measured.psnr],
        "ssim_samples": [round(float(value), 7) for value in measured.ssim],
        "seconds_per_sample": measured.seconds_per_sample,
        "reused_from": None,
    }
