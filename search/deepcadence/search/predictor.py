"""Predicting the quality of a schedule from the effects of its single calls, without running it."""

from __future__ import annotations

import copy
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
_GROWTH = 0.4  # how fast deviations grow by extrapolation, next to what features add of their own; see `Predictor`
_MOST_GROWTH = 50.0  # its exponent, at most: far beyond what any image can change


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

    What is neglected is not the same for all schedules: an extrapolation makes the deviations of the features that it
    starts from larger, by a, and a schedule that was chosen for its small sum is one whose errors cancel in it rather
    than in the run. With `caution` c, the effects of the features of an extrapolation also count one by one, as if they
    were independent, c times their squares, and each extrapolation lets squared changes grow by exp(0.4 c a^2).

    Args:
        effects: what reuse at single calls does.
        macs: cost of the calls.
        alpha: strength of extrapolation; 0 for holding.
        caution: how much to make of what extrapolations may do beyond what was measured.
    """

    def __init__(self, effects: Effects, macs: Macs, *, alpha: float = 0.0, caution: float = 0.0) -> None:
        self.cuts, self.num_calls, self.alpha = effects.cuts, effects.num_calls, alpha
        self._caution = caution if alpha else 0.0
        self._samples = len(effects.seeds)
        self._ages = min(_MAX_AGE, self.num_calls - 1)
        self._vectors = _every_age(effects, self._ages)
        self.table = self._vectors.reshape(-1, self._vectors.shape[-1])
        self._squares = np.square(self.table.reshape(len(self.table), self._samples, -1), dtype=np.float64).sum(-1)
        self.prices = np.array([macs.partial[cut] / macs.full for cut in self.cuts] + [1.0])  # FULL is the last one

    def cautious(self, caution: float) -> Predictor:
        """The same with another caution."""
        other = copy.copy(self)
        other._caution = caution if self.alpha else 0.0
        return other

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
        summed = np.square(total).reshape(len(calls), self._samples, -1).sum(-1)
        if not self._caution:
            return np.asarray(summed)
        alone = np.asarray(weights.power(2) @ self._squares)
        growth = np.exp((_GROWTH * self._caution * self._squared_slopes(calls)).clip(max=_MOST_GROWTH))
        return np.asarray((summed + self._caution * alone) * growth[:, None])

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
        schedule, call, first, earlier = _sources(calls)
        cut = calls[schedule, call]
        columns, values = [self._row(cut, first, call)], [np.ones(len(call))]
        if self.alpha != 0:
            slope = _slope(self.alpha, earlier, first, call)
            columns.append(self._row(cut, earlier, call))
            values = [1 + slope, -slope]
        rows = np.tile(schedule, len(columns))
        data = np.concatenate(values).astype(np.float32)
        return sparse.csr_array((data, (rows, np.concatenate(columns))), shape=(len(calls), len(self.table)))

    def _squared_slopes(self, calls: Calls) -> Floats:
        """The sum over the partial calls of a^2, for schedules (n, T): (n,)."""
        schedule, call, first, earlier = _sources(calls)
        squares = np.square(_slope(self.alpha, earlier, first, call))
        return np.asarray(np.bincount(schedule, weights=squares, minlength=len(calls)), dtype=np.float64)

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


def _sources(calls: Calls) -> tuple[Calls, Calls, Calls, Calls]:
    """Of each partial call of schedules (n, T): the schedule, the call, and the full calls i1 and i2 before it.

    i2 = i1 stands for a first full call, which has none before it.
    """
    full = calls == FULL
    last = np.maximum.accumulate(np.where(full, np.arange(calls.shape[1]), 0), axis=1)
    schedule, call = np.nonzero(~full)
    first = last[schedule, call]
    earlier = np.where(first > 0, last[schedule, np.maximum(first - 1, 0)], first)
    return schedule, call, first, earlier


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
