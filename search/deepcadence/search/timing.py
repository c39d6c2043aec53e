"""Time on this device: of single calls, and of whole runs.

Wall-clock speed-ups are such that a busy machine cannot turn them around: all contenders take turns, and ratios are per
round.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from torch import nn

from deepcadence.probe import Workload, spaced
from deepcadence.probe.clock import synchronize
from deepcadence.schedules import cached, denoiser, uniform
from deepcadence.search.candidates import Candidate
from deepcadence.search.errors import SearchError
from deepcadence.search.evaluate import Progress
from deepcadence.search.results import TrialRecord

_BATCH = 8
_ROUNDS = 5


@dataclass(frozen=True)
class CallSeconds:
    """Seconds that one call of the denoiser takes on a device.

    Attributes:
        full: of a full call.
        partial: of a partial call at each cut.
        num_calls: calls of a run of the reference.
    """

    full: float
    partial: Mapping[int, float]
    num_calls: int

    def speedup(self, trial: TrialRecord) -> float:
        """How many times less time the denoiser takes with a schedule than in a run of the reference."""
        calls = trial.schedule().calls
        seconds = sum(self.full if call == "full" else self.partial[call] for call in calls)
        if trial.cut is not None:
            seconds += trial.went_on * (self.full - self.partial[trial.cut])
        return self.num_calls * self.full / seconds


def call_seconds(workload: Workload, cuts: Iterable[int], *, progress: Progress | None = None) -> CallSeconds:
    """Measure calls on the device of the pipeline, in batches of at most eight of the workload's seeds.

    One run for each cut, in which full and partial calls take turns; the median of each kind counts. MACs are not time:
    small layers keep a device less busy than large ones.

    Raises:
        SearchError: there is no cut.
    """
    wanted = sorted(set(cuts))
    if not wanted:
        raise SearchError("found no cut whose calls to time, expected at least one; count MACs instead of time")
    seeds, num_calls, model = _batch(workload), workload.num_calls(), denoiser(workload.pipeline)
    seconds: defaultdict[str | int, list[float]] = defaultdict(list)
    for done, cut in enumerate(wanted, 1):
        schedule = uniform(num_calls, 2, cut)
        with cached(workload.pipeline, schedule), _clock(model) as durations:
            workload.run(seeds)
        sides = len(durations) // num_calls  # of guidance, where the pipeline calls its denoiser once for each
        for number, duration in enumerate(durations):
            seconds[schedule.calls[number // sides]].append(duration)
        if progress is not None:
            progress("timing calls", done, len(wanted))
    medians = {kind: statistics.median(found) for kind, found in seconds.items()}
    return CallSeconds(full=medians["full"], partial={cut: medians[cut] for cut in wanted}, num_calls=num_calls)


@contextmanager
def _clock(model: nn.Module) -> Iterator[list[float]]:
    """The seconds of each call of `model` inside, its device being done with all work before and after."""
    durations: list[float] = []
    began = 0.0

    def now() -> float:
        synchronize(next(model.parameters()).device)
        return time.perf_counter()

    def before(*_: object) -> None:
        nonlocal began
        began = now()

    def after(*_: object) -> None:
        durations.append(now() - began)

    hooks = [model.register_forward_pre_hook(before), model.register_forward_hook(after)]
    try:
        yield durations
    finally:
        for hook in hooks:
            hook.remove()


def wall_speedups(
    workload: Workload, contenders: Sequence[Candidate], *, progress: Progress | None = None
) -> list[float]:
    """How many times faster than the uncached run each contender is, image decoding included.

    In each of five rounds the uncached run and every contender generate one batch of at most eight of the workload's
    seeds; the ratio is taken within the round, and the median of the rounds counts. Attaching a schedule is not timed.
    """
    seeds = _batch(workload)
    ratios: list[list[float]] = [[] for _ in contenders]
    for done in range(_ROUNDS):
        plain = _seconds(workload, seeds, None)
        for number, contender in enumerate(contenders):
            ratios[number].append(plain / _seconds(workload, seeds, contender))
        if progress is not None:
            progress("timing", done + 1, _ROUNDS)
    return [statistics.median(found) for found in ratios]


def _batch(workload: Workload) -> tuple[int, ...]:
    return workload.seeds[: min(_BATCH, workload.batch_size)]


def _seconds(workload: Workload, seeds: Sequence[int], contender: Candidate | None) -> float:
    if contender is None:
        return _timed(workload, seeds, None)
    schedule = nullcontext() if contender.calls is None else cached(workload.pipeline, contender.schedule())
    with spaced(workload.pipeline, contender.spacing), schedule:
        return _timed(workload, seeds, contender.steps)


def _timed(workload: Workload, seeds: Sequence[int], steps: int | None) -> float:
    began = time.perf_counter()
    workload.run(seeds, steps=steps)  # the images come back to the host, so the device is done
    return time.perf_counter() - began
