"""The sampler of the study: a Gaussian process or TPE, seeded per trial."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from deepcadence.search.objective import is_search
from deepcadence.search.storage import RACED_OUT, requeued

Sampler = Literal["gp", "tpe"]
"""How the search proposes schedules: by Gaussian processes of both objectives (LogEHVI), or by multi-objective TPE."""

_STARTUP = 10  # trials of the search that are drawn at random first


class TrialSeeded(BaseSampler):
    """A sampler of Optuna whose random state is derived from a seed and the place of the trial, see `_place`.

    A study that is stopped or killed in a trial of the search, and resumed, proposes what it would have proposed,
    instead of its first trials again, and workers that share a study propose different things. Where this does not
    hold, see `repeatable.died`.
    """

    def __init__(self, kind: Sampler, seed: int = 0) -> None:
        self._kind, self._seed = kind, seed
        self._inner = self._make(0)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self._inner = self._make(_place(study, trial))
        self._inner.before_trial(study, trial)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._inner.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._inner.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self._inner.after_trial(study, trial, state, values)

    def _make(self, place: int) -> BaseSampler:
        seed = int(np.random.SeedSequence([self._seed, place]).generate_state(1)[0])
        if self._kind == "gp":
            return _SearchGP(seed)
        return TPESampler(seed=seed, n_startup_trials=_STARTUP, constant_liar=True)


def _place(study: optuna.Study, trial: FrozenTrial) -> int:
    """The trial's number if no trial before it had been queued again: that one and its repetition have one place."""
    until = [t for t in study.get_trials(deepcopy=False) if t.number <= trial.number]
    return trial.number - sum(number < trial.number for number in requeued(until))


class _SearchGP(BaseSampler):
    """Optuna's GP on the trials of the search alone, with what is known of those that were given up.

    Baselines and predicted schedules are no points of the space, and Optuna's GP takes parameters that all trials have.
    """

    def __init__(self, seed: int) -> None:
        self._gp = GPSampler(seed=seed, n_startup_trials=_STARTUP, deterministic_objective=True)
        self._random = RandomSampler(seed=seed)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        first, *others = [point.distributions for point in _points(study) if point.state == TrialState.COMPLETE] or [{}]
        return {
            name: found
            for name, found in first.items()
            if not found.single() and all(other.get(name) == found for other in others)
        }

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if not search_space:
            return {}
        searched = optuna.create_study(directions=study.directions, sampler=self._gp)
        searched.add_trials(_points(study))
        return searched.ask(search_space).params

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._random.sample_independent(study, trial, param_name, param_distribution)


def _points(study: optuna.Study) -> list[FrozenTrial]:
    """The trials of the search that have values, if only estimated ones, or are being run."""
    found = []
    for trial in study.get_trials(deepcopy=False):
        if not trial.params or not is_search(trial):
            continue
        raced = trial.user_attrs.get(RACED_OUT) if trial.state == TrialState.PRUNED else None
        values = trial.values if raced is None else (raced["quality"], raced["mean_macs"])
        if values is not None or trial.state == TrialState.RUNNING:
            state = TrialState.RUNNING if values is None else TrialState.COMPLETE
            found.append(
                optuna.create_trial(state=state, values=values, params=trial.params, distributions=trial.distributions)
            )
    return found
