"""Wall-clock speed-ups that a busy machine cannot turn around: all contenders take turns, and ratios are per round."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

from deepcadence.probe import Workload
from deepcadence.schedules import cached
from deepcadence.search.candidates import Candidate
from deepcadence.search.evaluate import Progress

_BATCH = 8
_ROUNDS = 3


def wall_speedups(
    workload: Workload, contenders: Sequence[Candidate], *, progress: Progress | None = None
) -> list[float]:
    """How many times faster than the uncached run each contender is, image decoding included.

    In each of three rounds the uncached run and every contender generate one batch of at most eight of the workload's
    seeds; the ratio is taken within the round, and the median of the rounds counts. Attaching a schedule is not timed.
    """
    seeds = workload.seeds[: min(_BATCH, workload.batch_size)]
    ratios: list[list[float]] = [[] for _ in contenders]
    for done in range(_ROUNDS):
        plain = _seconds(workload, seeds, None)
        for number, contender in enumerate(contenders):
            ratios[number].append(plain / _seconds(workload, seeds, contender))
        if progress is not None:
            progress("timing", done + 1, _ROUNDS)
    return [statistics.median(found) for found in ratios]


def _seconds(workload: Workload, seeds: Sequence[int], contender: Candidate | None) -> float:
    if contender is None or contender.calls is None:
        return _timed(workload, seeds, None if contender is None else contender.steps)
    with cached(workload.pipeline, contender.schedule()):
        return _timed(workload, seeds, None)


def _timed(workload: Workload, seeds: Sequence[int], steps: int | None) -> float:
    began = time.perf_counter()
    workload.run(seeds, steps=steps)  # the images come back to the host, so the device is done
    return time.perf_counter() - began
