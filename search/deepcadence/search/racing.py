"""Racing: a trial that is as good as certain not to reach the front is given up after some of its seeds."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from scipy import stats

from deepcadence.probe import Workload
from deepcadence.search.candidates import Candidate
from deepcadence.search.evaluate import Evaluator
from deepcadence.search.fields import Finite, Positive, Whole

LEVEL = 0.05
"""Chance, at most, that a race gives up a schedule that is no worse than its rival."""

FEWEST_SEEDS = 16
"""Studies with fewer seeds do not race: a test on a quarter of them says next to nothing."""

_LAPS = 4


class RacedOut(Candidate):
    """A trial that was given up, and what was seen of it until then.

    Attributes:
        number: of the trial in its study.
        rival: number of the trial that it raced against, which costs no more and is better.
        samples: search seeds that it was run on, the first.
        behind: the rival's quality less its own, mean over these seeds.
        quality: the rival's, over all seeds, less `behind`: an estimate of its own.
        mean_macs, speedup, calls_replayed, macs_replayed: as in `TrialRecord`; means over these seeds.
        reused_from: the earlier trial with the same calls that was given up; None if it was run.
    """

    number: Whole
    rival: Whole
    samples: Whole
    behind: Finite
    quality: Finite
    mean_macs: Positive
    speedup: Positive
    calls_replayed: Finite = 0.0
    macs_replayed: Finite = 0.0
    reused_from: Whole | None = None


def in_laps(evaluator: Evaluator) -> Evaluator:
    """One that runs in four batches at least, after each of which a race may end; as it is with too few seeds."""
    workload = evaluator.workload
    seeds = len(workload.seeds)
    if seeds < FEWEST_SEEDS:
        return evaluator
    found = copy.copy(evaluator)
    found.workload = workload.replace(batch_size=min(workload.batch_size, -(-seeds // _LAPS)))
    return found


def looks(workload: Workload) -> int:
    """How often a race over the workload's seeds is looked at before its end; 0 where there is none."""
    if len(workload.seeds) < FEWEST_SEEDS:
        return 0
    return -(-len(workload.seeds) // workload.batch_size) - 1


def rival_of(macs: float, records: Iterable[dict[str, Any]], metric: str) -> dict[str, Any] | None:
    """The record with the best `metric` among the schedules of at most `macs` mean MACs; None if there is none."""
    cheap = [record for record in records if record["calls"] is not None and record["mean_macs"] <= macs]
    return max(cheap, key=lambda record: record[metric], default=None)


def is_lost(values: Sequence[float], rival: Sequence[float], looks: int) -> bool:
    """Whether a race is lost: a paired Student's t-test, one-sided, at `LEVEL` shared among the looks (Bonferroni).

    Args:
        values: of the seeds so far.
        rival: of all seeds, in the same order.
        looks: how often this is asked in one race.
    """
    differences = np.asarray(values, dtype=float) - np.asarray(rival[: len(values)], dtype=float)
    count = len(differences)
    if count < 2:
        return False
    spread = differences.std(ddof=1)
    if spread == 0:
        return bool(differences[0] < 0)
    return bool(stats.t.cdf(differences.mean() / spread * count**0.5, count - 1) < LEVEL / looks)
