"""The objective: run what a trial asks for, once per list of calls."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from deepcadence.search.agreement import PredictorInfo
from deepcadence.search.artifacts import keep_picture
from deepcadence.search.candidates import Candidate
from deepcadence.search.errors import SearchError
from deepcadence.search.evaluate import Evaluator, Measurement
from deepcadence.search.racing import is_lost, looks, rival_of
from deepcadence.search.space import SearchSpace
from deepcadence.search.storage import DROPPED, ERROR, PREDICTOR, RACED_OUT, RECORD, WORKER
from deepcadence.search.workers import this_worker

CANDIDATE = "candidate"
"""Trial attribute of an enqueued baseline or predicted schedule: what to run."""


class DroppedTrialError(SearchError):
    """A trial that another worker queued or ran already: it does not count."""


class Objective:
    """Called by Optuna; returns (quality, mean MACs), or ends as "pruned" a trial that lost its race.

    Args:
        evaluator: runs things.
        space: where search trials come from.
        metric: quality to return, see `Measurement.values`.
        trials: how many search trials the study is to have; what parallel workers begin beyond that is dropped.
        racing: whether search trials race.
        pictures: folder for a picture of each trial's images, which the evaluator then keeps; None for none.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        space: SearchSpace,
        metric: str,
        trials: int,
        racing: bool,
        pictures: Path | None = None,
    ) -> None:
        self._evaluator = evaluator
        self._space = space
        self._metric = metric if metric in ("psnr", "ssim") else "own"
        self._trials = trials
        self._looks = looks(evaluator.workload) if racing else 0
        self._pictures = pictures
        self.last_number: int | None = None  # of the trial that was run last, unless it broke
        self.stopped: int | None = None  # number of the trial that Ctrl-C ended
        self.measures = False  # whether the last trial came to be measured: what is stored of it made sense until then

    def prepare(self) -> None:
        """Run the reference, if that was not done: its failure is the study's, not a trial's."""
        _ = self._evaluator.reference

    def __call__(self, trial: optuna.Trial) -> tuple[float, float]:
        self.last_number = trial.number
        try:
            return self._run(trial)
        except (SearchError, optuna.TrialPruned, optuna.exceptions.UpdateFinishedTrialError):
            raise
        except BaseException as error:
            self.last_number = None  # the error is no answer of the storage
            self.stopped = trial.number if isinstance(error, KeyboardInterrupt) else None
            raise

    def _run(self, trial: optuna.Trial) -> tuple[float, float]:
        trial.set_user_attr(WORKER, this_worker())
        others = trial.study.get_trials(deepcopy=False)
        try:
            candidate = self._candidate(trial, others)
        except DroppedTrialError as error:
            trial.set_user_attr(DROPPED, str(error))
            raise
        self.measures = True
        races = self._looks > 0 and CANDIDATE not in trial.user_attrs
        twin = _finished_twin(candidate, others, raced=races)
        try:
            record = _reused(candidate, *twin) if twin is not None else self._measure(trial, candidate, others, races)
        except SearchError as error:
            trial.set_user_attr(ERROR, {"label": candidate.label, "error": str(error)})
            raise
        if "rival" in record:
            trial.set_user_attr(RACED_OUT, record)
            raise optuna.TrialPruned(f"{candidate.label!r} is behind trial {record['rival']}")
        trial.set_user_attr(RECORD, record)
        return float(record[self._metric]), float(record["mean_macs"])

    def _candidate(self, trial: optuna.Trial, others: list[FrozenTrial]) -> Candidate:
        data = trial.user_attrs.get(CANDIDATE)
        if data is not None:
            candidate = Candidate.model_validate(data)
            if any(is_alive(t) and t.number < trial.number and t.user_attrs.get(CANDIDATE) == data for t in others):
                raise DroppedTrialError(f"baseline {candidate.label!r} was queued twice")
            if candidate.origin == "predicted" and not self._predicts(trial, others):
                raise DroppedTrialError(f"{candidate.label!r} is not tried: the predictor ranks badly")
            self._space.tell_baseline(trial, candidate)
            return candidate
        if sum(is_alive(t) and is_search(t) and t.number < trial.number for t in others) >= self._trials:
            raise DroppedTrialError(f"the study has its {self._trials} trials")
        return self._space.suggest(trial, self._evaluator.calls_of)

    def _predicts(self, trial: optuna.Trial, others: list[FrozenTrial]) -> bool:
        """Whether predictions agree with what was measured so far, or too little was measured to say."""
        info = PredictorInfo.model_validate(trial.study.user_attrs[PREDICTOR])
        records = [t.user_attrs[RECORD] for t in others if _is_measured(t)]
        found = info.agreement({_key(record): record[self._metric] for record in records})
        return found is None or found.usable

    def _measure(
        self, trial: optuna.Trial, candidate: Candidate, others: list[FrozenTrial], races: bool
    ) -> dict[str, Any]:
        """The trial's record; that of a `RacedOut` if its race is lost."""
        known = [t.user_attrs[RECORD] | {"number": t.number} for t in others if races and _is_measured(t)]

        def winner(so_far: Measurement) -> dict[str, Any] | None:
            """The rival, if the race is lost."""
            rival = rival_of(so_far.mean_macs, known, self._metric)
            values = so_far.values(self._metric).tolist()
            return rival if rival and is_lost(values, rival[f"{self._metric}_samples"], self._looks) else None

        def lost(so_far: Measurement) -> bool:
            return winner(so_far) is not None

        measured = self._evaluator.measure_candidate(candidate, enough=lost if races else None)
        if self._pictures is not None and measured.images is not None:
            keep_picture(trial, measured.images, self._pictures)
        what, values = candidate.model_dump(mode="json"), measured.values(self._metric).tolist()
        rival = winner(measured)
        if rival is None or len(values) == len(self._evaluator.workload.seeds):
            return what | _figures(measured)
        behind = fmean(rival[f"{self._metric}_samples"][: len(values)]) - fmean(values)
        return what | {
            "rival": rival["number"],
            "samples": len(values),
            "behind": behind,
            "quality": rival[self._metric] - behind,
            "mean_macs": measured.mean_macs,
            "speedup": measured.speedup,
            "calls_replayed": measured.calls_replayed,
            "macs_replayed": measured.macs_replayed,
            "reused_from": None,
        }


def _is_measured(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.COMPLETE and RECORD in trial.user_attrs


def _key(record: dict[str, Any]) -> str:
    return Candidate.model_validate({name: record[name] for name in Candidate.model_fields if name in record}).key


def is_search(trial: FrozenTrial) -> bool:
    """Whether the search in (c, p) proposed the trial; else it is a baseline, or predicted."""
    return CANDIDATE not in trial.user_attrs


def is_predicted(trial: FrozenTrial) -> bool:
    """Whether the predictor proposed the trial."""
    return CANDIDATE in trial.user_attrs and trial.user_attrs[CANDIDATE]["origin"] == "predicted"


def is_alive(trial: FrozenTrial) -> bool:
    """Whether the trial is finished for good or on its way there; else its worker died, or it was dropped."""
    return trial.state != TrialState.FAIL or ERROR in trial.user_attrs


def _finished_twin(
    candidate: Candidate, others: list[FrozenTrial], *, raced: bool
) -> tuple[int, dict[str, Any]] | None:
    """Number and record of the trial that ran the same; `raced` takes one that was given up, too."""
    names = {TrialState.COMPLETE: RECORD} | ({TrialState.PRUNED: RACED_OUT} if raced else {})
    for trial in others:
        record = trial.user_attrs.get(names.get(trial.state, ""))
        if record is not None and record.get("reused_from") is None and _key(record) == candidate.key:
            return trial.number, record
    return None


def _reused(candidate: Candidate, number: int, record: dict[str, Any]) -> dict[str, Any]:
    return {**record, **candidate.model_dump(mode="json"), "reused_from": number}


def _figures(measured: Measurement) -> dict[str, Any]:
    own = measured.own
    return {
        "psnr": float(measured.psnr.double().mean()),
        "ssim": float(measured.ssim.double().mean()),
        "own": None if own is None else float(own.double().mean()),
        "mean_macs": measured.mean_macs,
        "speedup": measured.speedup,
        "psnr_samples": [round(float(value), 5) for value in measured.psnr],
        "ssim_samples": [round(float(value), 7) for value in measured.ssim],
        "own_samples": None if own is None else [float(value) for value in own],
        "seconds_per_sample": measured.seconds_per_sample,
        "went_on": measured.went_on,
        "calls_replayed": measured.calls_replayed,
        "macs_replayed": measured.macs_replayed,
        "reused_from": None,
    }
