"""Predicting the quality of a schedule from the effects of its single calls, without running it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import sparse

from deepcadence.probe import Effects, Macs
from deepcadence.schedules import Call
from deepcadence.search.quality import PSNR_CAP

Floats = npt.NDArray[np.float64]
Calls = npt.NDArray[np.int64]
"""Schedules as numbers, (schedules, T): `FULL`, or the place of the cut in `Predictor.cuts`."""

FULL = -1
_MAX_AGE = 48  # a feature older than this counts as this old: bounds the table, and nobody wants such schedules


class Predictor:
    """Predicts the PSNR that schedules reach against the uncached run.

    The change of the final image is taken as the sum of the errors of its partial calls in the denoiser's output, each
    times the gain of its call. They are summed as vectors: reuse errors of neighbouring calls point the same way, so
    that neither variances nor lengths add up. That the rest of a run turns an error as well as scaling it is neglected,
    and what is of second order, such as features that are computed from a latent that is off already.
    `benchmarks/predictor.py` compares this with other ways.

    The stand-in for the feature of call j comes from those of the full calls i1 > i2 before it: it is
    f(i1) + a (f(i1) - f(i2)) with a = alpha (j - i1) / (i1 - i2); alpha 0 holds f(i1). As the layers outside the cut
    are nearly linear over such small changes, the error is taken as the same combination of errors.

    Args:
        effects: what reuse at single calls does.
        macs: cost of the calls.
        alpha: strength of extrapolation; 0 for holding.
    """

    def __init__(self, effects: Effects, macs: Macs, *, alpha: float = 0.0) -> None:
        self.cuts, self.num_calls, self.alpha = effects.cuts, effects.num_calls, alpha
        self._samples = len(effects.seeds)
        self._ages = min(_MAX_AGE, self.num_calls - 1)
        self._vectors = _every_age(effects, self._ages)
        self.table = self._vectors.reshape(-1, self._vectors.shape[-1])
        self.prices = np.array([macs.partial[cut] / macs.full for cut in self.cuts] + [1.0])  # FULL is the last one

    def encode(self, schedules: Sequence[Sequence[Call]]) -> Calls:
        """Schedules as numbers; their cuts must be among `cuts`."""
        places: dict[Call, int] = {"full": FULL, **{cut: place for place, cut in enumerate(self.cuts)}}
        return np.array([[places[call] for call in calls] for calls in schedules], dtype=np.int64)

    def decode(self, calls: Calls) -> list[Call]:
        """One schedule, (T,), as it is written in a file."""
        return ["full" if call == FULL else self.cuts[call] for call in calls.tolist()]

    def price(self, calls: Calls) -> Floats:
        """MACs of schedules (n, T), as a part of the uncached run's: (n,)."""
        return np.asarray(self.prices[calls].mean(axis=1))

    def change(self, calls: Calls) -> Floats:
        """Mean squared change of the image of each sample, for schedules (n, T): (n, samples)."""
        weights = self.weights(calls)
        total = np.asarray(weights @ self.table, dtype=np.float64)
        return np.asarray(np.square(total).reshape(len(calls), self._samples, -1).sum(-1))

    def psnr(self, calls: Calls) -> Floats:
        """Predicted PSNR in dB, the mean over samples, for schedules (n, T): (n,)."""
        with np.errstate(divide="ignore"):
            each = -10 * np.log10(self.change(calls))
        return np.asarray(each.clip(max=PSNR_CAP).mean(axis=1))

    def norms(self) -> Floats:
        """Length of the effect of each partial call, root mean square over samples: (cuts, i2, i1, j).

        An upper bound of what it adds to the length of a sum. Without extrapolation the axis i2 is 1 long. Infinite
        where i2 < i1 < j does not hold; i2 = i1 stands for a first full call, which has none before it.
        """
        held = self._by_calls()
        if self.alpha == 0:
            lengths = np.sqrt(np.square(held).sum(-1) / self._samples)[:, None]
            return np.where(_before(self.num_calls)[None, None], lengths, np.inf)
        return self._extrapolated_norms(held)

    def weights(self, calls: Calls) -> sparse.csr_array:
        """How often each row of the table counts in each schedule: (n, rows)."""
        count, length = calls.shape
        where = np.arange(length)
        full = calls == FULL
        last = np.maximum.accumulate(np.where(full, where, 0), axis=1)
        schedule, call = np.nonzero(~full)
        cut, first = calls[schedule, call], last[schedule, call]
        columns, values = [self._row(cut, first, call)], [np.ones(len(call))]
        if self.alpha != 0:
            earlier = np.where(first > 0, last[schedule, np.maximum(first - 1, 0)], first)
            slope = _slope(self.alpha, earlier, first, call)
            columns.append(self._row(cut, earlier, call))
            values = [1 + slope, -slope]
        rows = np.tile(schedule, len(columns))
        data = np.concatenate(values).astype(np.float32)
        return sparse.csr_array((data, (rows, np.concatenate(columns))), shape=(count, len(self.table)))

    def _row(self, cut: Calls, source: Calls, call: Calls) -> Calls:
        age = np.clip(call - source, 1, self._ages)
        return np.asarray((cut * self._ages + age - 1) * self.num_calls + call)

    def _by_calls(self) -> Floats:
        """The vectors as (cuts, i, j, dimensions), zero where i >= j."""
        calls = np.arange(self.num_calls)
        age = np.clip(calls[None, :] - calls[:, None], 1, self._ages) - 1
        found = self._vectors[:, age, calls[None, :]]
        return np.asarray(found * _before(self.num_calls)[None, :, :, None], dtype=np.float64)

    def _extrapolated_norms(self, held: Floats) -> Floats:
        gram = np.einsum("cijd,ckjd->cikj", held, held) / self._samples  # (cuts, i2, i1, j)
        squares = np.einsum("ciij->cij", gram)
        calls = np.arange(self.num_calls)
        slope = _slope(self.alpha, calls[:, None, None], calls[None, :, None], calls[None, None, :])
        one, two = squares[:, None], squares[:, :, None]
        length = (1 + slope) ** 2 * one + slope**2 * two - 2 * slope * (1 + slope) * gram
        order = calls[:, None, None] <= calls[None, :, None]
        allowed = order & _before(self.num_calls)[None]
        return np.where(allowed[None], np.sqrt(length.clip(min=0)), np.inf)


def _slope(alpha: float, earlier: Calls, first: Calls, call: Calls) -> Floats:
    """How much of the difference of the last two features is added; none where there is one only."""
    gap = first - earlier
    return np.where(gap > 0, alpha * (call - first) / np.maximum(gap, 1), 0.0)


def _before(calls: int) -> npt.NDArray[np.bool_]:
    """(i, j): whether i < j."""
    return np.triu(np.ones((calls, calls), dtype=bool), 1)


def _every_age(effects: Effects, ages: int) -> npt.NDArray[np.float32]:
    """The vectors for each age from 1 to `ages`, (cuts, ages, T, samples * dimensions).

    Linear between the ages that were measured, and beyond the last along the line through the last two. A call j has
    no feature older than j.
    """
    known = (effects.errors * effects.gains[:, None, None]).float().flatten(3).numpy()
    measured = np.array(effects.ages)
    found = np.zeros((known.shape[0], ages, *known.shape[2:]), dtype=np.float32)
    for call in range(1, effects.num_calls):
        here = measured[measured <= call]
        for age in range(1, min(ages, call) + 1):
            found[:, age - 1, call] = _at_age(known[:, :, call], here, age)
    return found


def _at_age(known: npt.NDArray[np.float32], ages: Calls, age: int) -> npt.NDArray[np.float32]:
    high = min(int(np.searchsorted(ages, age)), len(ages) - 1)
    if ages[high] == age:
        return known[:, high]
    part = np.float32((age - ages[high - 1]) / (ages[high] - ages[high - 1]))
    return known[:, high - 1] * (1 - part) + known[:, high] * part
