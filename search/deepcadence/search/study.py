"""The study: baselines, predicted schedules, then the search, in any number of processes, interrupted at will."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import optuna
from optuna.storages import BaseStorage
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from deepcadence.probe import Macs, Profile, Setup, Workload
from deepcadence.schedules import denoiser, family_of, model_info
from deepcadence.search.baselines import baselines
from deepcadence.search.candidates import Candidate
from deepcadence.search.checking import check_contents, check_directions, check_name, contents_named
from deepcadence.search.errors import SearchError
from deepcadence.search.evaluate import Evaluator, Progress
from deepcadence.search.identity import check_identity, study_identity
from deepcadence.search.objective import CANDIDATE, Objective, is_alive, is_predicted, is_search
from deepcadence.search.predicting import predict
from deepcadence.search.quality import Metric, QualityFunction, metric_name
from deepcadence.search.racing import in_laps
from deepcadence.search.repeatable import also_run_with
from deepcadence.search.results import StudyResult, TrialRecord
from deepcadence.search.sampler import Sampler, TrialSeeded
from deepcadence.search.settings import StudySettings, dtype_of
from deepcadence.search.space import SearchSpace
from deepcadence.search.storage import EARLIER, PREDICTOR, RECORD, SETTINGS, SETUP, failures_named, open_storage, quiet
from deepcadence.search.workers import requeue_dead, requeue_stopped

_POLL_SECONDS = 1.0
_USELESS = 0.9  # a cut whose partial call costs more than this part of a full one saves too little to search


def run_study(
    workload: Workload,
    *,
    storage: str | Path | None = None,
    study_name: str = "deepcadence",
    trials: int = 60,
    profile: Profile | None = None,
    macs: Macs | None = None,
    cuts: Iterable[int] | None = None,
    intervals: tuple[int, int] | None = None,
    powers: tuple[float, float] | None = None,
    orders: Iterable[int] | None = None,
    alphas: Iterable[float] | None = None,
    thresholds: Iterable[float] = (),
    max_holds: Iterable[int] = (),
    steps: Iterable[int] = (),
    spacings: Iterable[str | None] | None = None,
    metric: Metric | QualityFunction = "psnr",
    seed: int = 0,
    max_uniform: int = 24,
    max_published: int = 6,
    fewer_steps: Iterable[int] | None = None,
    max_predicted: int = 24,
    target_speedup: float | None = None,
    sampler: Sampler = "gp",
    racing: bool = True,
    heartbeat: int = 30,
    command: str = "",
    pictures: Path | None = None,
    progress: Progress | None = None,
    on_trial: Callable[[TrialRecord], None] | None = None,
) -> StudyResult:
    """Search the schedules of a workload for the best quality at each cost.

    Two objectives: quality of the images against the uncached run on the same seeds (maximized), and mean MACs
    (minimized). The baselines run first: uniform 1:N, held and extrapolated, the authors' published (c, p), and the
    same sampler with fewer steps. Then come schedules that a predictor holds to be best, for which the effects of reuse
    are measured once, on two of the seeds; they are left out if its predictions turn out to rank the baselines badly.
    The search in (c, p) comes last. The study may be killed at any moment; the same call resumes it. Several processes,
    on one machine or many, may run the same call on one database, or `join_study`: they share the work, and each
    returns when the study is complete.

    Args:
        workload: pipeline, steps, search seeds, prompts.
        storage: None for memory, a path for an SQLite file, or a database URL; see `open_storage`.
        study_name: of the study in the storage, which may hold several.
        trials: how many search trials the study is to have in the end, earlier ones included; baselines come on top.
        profile: a profile of the same model; gives the MACs and the cuts to search, if those are not given. MACs
            depend on the size of the images, which must be the workload's then.
        macs: cost of the calls, at the size that the workload has; counted exactly if neither this nor a profile is
            given.
        cuts: cuts to search; default: those of the profile, else all that save at least 10%.
        intervals: lowest and highest N; default 2 to 10.
        powers: lowest and highest p; default 1.05 to 2.5.
        orders: how features may be reused: 0 holds the last one, 1 and 2 extrapolate; default: all three.
        alphas: how much of the extrapolation's step may be taken, above 0 and up to 2; see `SearchSpace.default`.
        thresholds: tries adaptive schedules with each of these; with () as `orders`, the search tries nothing else.
        max_holds: the most partial calls in a row that an adaptive schedule may have; default: no limit.
        steps: further numbers of steps at which schedules are tried, fewer than the workload's, which stays the
            reference.
        spacings: `timestep_spacing` of the sampler, such as "leading"; None, the default, is that of the reference.
        metric: "psnr", "ssim", or a function of one's own, known to the study by its name; see `QualityFunction`.
        seed: of the search; the same seed on the same storage state proposes the same.
        max_uniform: at most this many uniform schedules of each reuse among the baselines, see `baselines`.
        max_published: at most this many schedules with the published (c, p).
        fewer_steps: step counts at which the uncached sampler is run, see `baselines`.
        max_predicted: at most about this many predicted schedules; 0 does without the predictor.
        target_speedup: the saving that is wanted, if it is known; the predictor then proposes schedules just within it,
            also when a study is resumed with another one.
        sampler: what proposes the trials of the search: "gp", Gaussian processes, or "tpe"; see `Sampler`.
        racing: with 16 seeds or more, give up trials of the search once a test says that they stay behind a schedule
            that costs no more; see `RacedOut`. Batches then hold a quarter of the seeds at most. False measures all
            trials on all seeds, as it takes to compare kinds of schedules.
        heartbeat: seconds between heartbeats, see `open_storage`.
        command: what was typed for this, kept in the study for its report; no secrets.
        pictures: folder for a picture of the first images of each trial run by this process: Optuna artifacts,
            which optuna-dashboard shows.
        progress: told as `progress(phase, done, total)`, phases "predictor", "reference",
            "baselines", "predicted", "search".
        on_trial: told each trial that this process finished, but for those that were given up.

    Raises:
        SearchError: the study in the storage is about something else, the profile is of another model, the MACs are
            of samples of another size, or the reference is not finite.
        WorkloadError: the sampler has no such spacing.
    """
    if trials < 0:
        raise SearchError(f"trials is {trials}; expected 0 or more")
    check_name(study_name)
    _check_profile(profile, workload)
    source: Literal["macs", "profile"] = "macs" if macs is not None or profile is None else "profile"
    if macs is None and profile is not None:
        macs = profile.meta.macs
    name, quality = metric_name(metric), None if isinstance(metric, str) else metric
    keep = pictures is not None
    evaluator = Evaluator(workload, macs=macs, quality=quality, keep_images=keep, share=True, progress=progress)
    _check_size(macs, source, evaluator)
    wanted = cuts if cuts is not None else (profile.cuts if profile is not None else None)
    space = SearchSpace.default(
        evaluator.num_calls,
        workload.steps,
        _useful_cuts(evaluator.macs, wanted),
        intervals=intervals,
        powers=powers,
        orders=orders,
        alphas=alphas,
        thresholds=thresholds,
        max_holds=max_holds,
        fewer=[(count, evaluator.calls_of(count)) for count in steps if count != workload.steps],
        spacings=spacings,
    )
    for spacing in space.spacings:
        evaluator.trace_of(workload.steps, spacing)  # one that cannot be is refused here
    identity = study_identity(workload, space, evaluator.macs, name)
    given = {
        "trials": trials,
        "seed": seed,
        "heartbeat": heartbeat,
        "max_uniform": max_uniform,
        "max_published": max_published,
        "fewer_steps": None if fewer_steps is None else tuple(fewer_steps),
        "max_predicted": max_predicted,
        "target_speedup": target_speedup,
        "sampler": sampler,
        "racing": racing,
        "prompts": workload.prompts,
        "batch_size": workload.batch_size,
        "dtype": dtype_of(workload),
    }
    settings = StudySettings.of(study_name, given)
    with quiet(), failures_named(study_name), contents_named(study_name):
        study = _open(open_storage(storage, heartbeat=heartbeat), study_name, TrialSeeded(sampler, seed))
        check_directions(study)
        check_identity(study, identity)
        check_contents(study)
        study.set_user_attr(SETTINGS, settings.model_dump(mode="json"))
        setup = Setup.now(command).model_dump(mode="json")
        known = study.user_attrs
        study.set_user_attr(EARLIER, also_run_with(known.get(EARLIER), known.get(SETUP), setup))
        study.set_user_attr(SETUP, setup)
    return take_part(study, evaluator, space, name, settings, progress, on_trial, pictures)


def take_part(
    study: optuna.Study,
    evaluator: Evaluator,
    space: SearchSpace,
    metric: str,
    settings: StudySettings,
    progress: Progress | None,
    on_trial: Callable[[TrialRecord], None] | None,
    pictures: Path | None,
) -> StudyResult:
    """Do what is left to do in a study that is known to be about the evaluator's workload, until it is complete."""
    todo = baselines(
        space,
        max_uniform=settings.max_uniform,
        max_published=settings.max_published,
        fewer_steps=settings.fewer_steps,
        runs=evaluator.runs,
    )
    with quiet(), failures_named(study.study_name):
        _enqueue(study, space, todo)
        if settings.max_predicted:
            _predict(study, evaluator, space, settings, todo, progress)
        _enqueue(study, space, _proposed(study))
        runner = in_laps(evaluator) if settings.racing else evaluator
        objective = Objective(runner, space, metric, settings.trials, settings.racing, pictures)
        _Worker(study, objective, settings.trials, 4 * settings.heartbeat, progress, on_trial).work()
    return StudyResult.from_study(study)


@dataclass(frozen=True)
class _Tally:
    waiting: int
    running: int
    baselines: tuple[int, int]  # finished, all
    predicted: tuple[int, int]
    search: tuple[int, int]  # finished, begun


class _Worker:
    """Runs trials until the study is complete."""

    def __init__(
        self,
        study: optuna.Study,
        objective: Objective,
        trials: int,
        grace: int,
        progress: Progress | None,
        on_trial: Callable[[TrialRecord], None] | None,
    ) -> None:
        self._study, self._objective, self._trials, self._grace = study, objective, trials, grace
        self._progress, self._on_trial = progress, on_trial

    def work(self) -> None:
        while True:
            with contents_named(self._study.study_name):
                requeue_dead(self._study, grace=self._grace)
            tally = self._tally()
            self._report(tally)
            if tally.waiting or tally.search[1] < self._trials:
                self._objective.prepare()
                self._one_trial()
            elif tally.running:
                self._wait()
            else:
                return

    def _one_trial(self) -> None:
        self._objective.last_number, self._objective.stopped, self._objective.measures = None, None, False
        try:
            self._optimize()
        except KeyboardInterrupt:
            self._queue_stopped()
            raise
        except (optuna.exceptions.UpdateFinishedTrialError, ValueError, AssertionError):  # Optuna knows none of this
            if not self._is_over():
                raise

    def _queue_stopped(self) -> None:
        """Queue the trial again that Ctrl-C ended, if it ended one; where the database fails as well, it is lost."""
        number = self._objective.stopped
        if number is not None:
            with contextlib.suppress(optuna.exceptions.StorageInternalError, SQLAlchemyError):
                requeue_stopped(self._study, number)

    def _optimize(self) -> None:
        """One trial; `SearchError` for what Optuna stumbles over before the trial is measured."""
        try:
            self._study.optimize(self._objective, n_trials=1, catch=(SearchError,), callbacks=[self._tell])
        except Exception:
            if self._objective.measures:
                raise
            with contents_named(self._study.study_name):
                raise

    def _is_over(self) -> bool:
        """Whether the trial was finished by others, or by this worker without its knowledge.

        Others may have taken the worker for dead (it was suspended, say) and queued the trial again; or the database
        went away after it had stored the values, before it said so.
        """
        number = self._objective.last_number
        found = [t for t in self._study.get_trials(deepcopy=False) if t.number == number]
        state = found[0].state if found else None
        return state in (TrialState.COMPLETE, TrialState.PRUNED) or (
            state == TrialState.FAIL and not is_alive(found[0])
        )

    def _wait(self) -> None:
        """Others still run trials; should they die, their trials come back to the queue."""
        time.sleep(_POLL_SECONDS)
        optuna.storages.fail_stale_trials(self._study)

    def _tally(self) -> _Tally:
        alive = [t for t in self._study.get_trials(deepcopy=False) if is_alive(t)]
        search = [t for t in alive if is_search(t)]
        predicted = [t for t in alive if is_predicted(t)]
        enqueued = [t for t in alive if not is_search(t) and not is_predicted(t)]
        return _Tally(
            waiting=sum(t.state == TrialState.WAITING for t in alive),
            running=sum(t.state == TrialState.RUNNING for t in alive),
            baselines=(sum(t.state.is_finished() for t in enqueued), len(enqueued)),
            predicted=(sum(t.state.is_finished() for t in predicted), len(predicted)),
            search=(sum(t.state.is_finished() for t in search), len(search)),
        )

    def _report(self, tally: _Tally) -> None:
        if self._progress is None:
            return
        if tally.baselines[1]:
            self._progress("baselines", *tally.baselines)
        if tally.baselines[0] < tally.baselines[1]:
            return
        if tally.predicted[1]:
            self._progress("predicted", *tally.predicted)
        if self._trials and tally.predicted[0] == tally.predicted[1]:
            self._progress("search", min(tally.search[0], self._trials), self._trials)

    def _tell(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        if self._on_trial is not None and trial.state == TrialState.COMPLETE:
            self._on_trial(TrialRecord.model_validate({**trial.user_attrs[RECORD], "number": trial.number}))


def _open(storage: BaseStorage, study_name: str, sampler: TrialSeeded) -> optuna.Study:
    return optuna.create_study(
        storage=storage,
        study_name=study_name,
        sampler=sampler,
        directions=("maximize", "minimize"),
        load_if_exists=True,
    )


def _enqueue(study: optuna.Study, space: SearchSpace, todo: list[Candidate]) -> None:
    """Queue those that the study lacks. Two workers that do so at once are sorted out by the objective."""
    there = {
        Candidate.model_validate(t.user_attrs[CANDIDATE]).label
        for t in study.get_trials(deepcopy=False)
        if CANDIDATE in t.user_attrs and is_alive(t)
    }
    for candidate in todo:
        if candidate.label not in there:
            study.enqueue_trial(
                space.baseline_params(candidate), user_attrs={CANDIDATE: candidate.model_dump(mode="json")}
            )


def _predict(
    study: optuna.Study,
    evaluator: Evaluator,
    space: SearchSpace,
    settings: StudySettings,
    known: list[Candidate],
    progress: Progress | None,
) -> None:
    """Have the predictor propose, unless it has for this target already, or was found to rank badly."""
    before, target = StudyResult.from_study(study), settings.target_speedup
    again = before.predictor is not None
    if before.predictor is not None and not (before.predictor.lacks(target) and _trusted(before)):
        return
    info = predict(
        evaluator.workload, space, evaluator.macs, settings.max_predicted, known, progress, target, again=again
    )
    now = StudyResult.from_study(study).predictor
    if now is None:
        study.set_user_attr(PREDICTOR, info.model_dump(mode="json"))
    elif info.problem is None and now.lacks(target):  # else another worker was faster
        study.set_user_attr(PREDICTOR, now.joined(info).model_dump(mode="json"))


def _trusted(result: StudyResult) -> bool:
    return result.agreement is None or result.agreement.usable


def _proposed(study: optuna.Study) -> list[Candidate]:
    """The predicted schedules, unless the predictor was found to rank badly."""
    result = StudyResult.from_study(study)
    if result.predictor is None or not _trusted(result):
        return []
    return list(result.predictor.proposed)


def _useful_cuts(macs: Macs, wanted: Iterable[int] | None) -> list[int]:
    if wanted is None:
        return [cut for cut, cost in sorted(macs.partial.items()) if cost <= _USELESS * macs.full]
    cuts = sorted(set(wanted))
    unknown = [cut for cut in cuts if cut not in macs.partial]
    if unknown:
        known = ", ".join(map(str, sorted(macs.partial)))
        raise SearchError(f"the model has no cut {unknown[0]}; its cuts are {known}")
    return cuts


def _check_profile(profile: Profile | None, workload: Workload) -> None:
    """Raise `SearchError` if the profile is of another model than the workload's."""
    if profile is None:
        return
    model = denoiser(workload.pipeline)
    now, then = model_info(model, family_of(model).cuts(model)), profile.meta.model
    if (now.class_name, now.config_sha256) != (then.class_name, then.config_sha256):
        raise SearchError(
            f"the profile is of another model: {then.class_name} with config hash {then.config_sha256}, "
            f"expected {now.class_name} with {now.config_sha256}"
        )


def _check_size(macs: Macs | None, source: Literal["macs", "profile"], evaluator: Evaluator) -> None:
    """Raise `SearchError` if MACs that were given are of samples of another size than those of the workload."""
    if macs is None or not macs.sample_shape:
        return
    model = denoiser(evaluator.workload.pipeline)
    family, shape = family_of(model), evaluator.trace.sample_shape
    found, expected = (family.size_of(model, each) for each in (macs.sample_shape, shape))
    if found != expected:
        advice = {
            "macs": f"count them with count_macs(..., size={expected})",
            "profile": "probe this very workload, with the same call arguments (--call)",
        }[source]
        raise SearchError(
            f"the MACs of {source} are of samples of shape {_sides(macs.sample_shape)}; expected {_sides(shape)}, "
            f"with which the workload calls its denoiser, since MACs and speed-ups depend on the size: {advice}"
        )


def _sides(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
