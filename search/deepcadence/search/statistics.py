"""Means with bootstrap intervals, and paired differences."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats
from torch import Tensor

from deepcadence.search.errors import SearchError
from deepcadence.search.fields import Finite, Record, Whole

_RESAMPLES = 9999


class Estimate(Record):
    """A mean over samples with its 95% bootstrap interval, in the unit of the samples."""

    mean: Finite
    ci95: tuple[Finite, Finite]
    samples: Whole

    def __str__(self) -> str:
        return f"{self.mean:.3g} [{self.ci95[0]:.3g}, {self.ci95[1]:.3g}]"


def mean_and_ci(values: Tensor | Sequence[float], *, seed: int = 0) -> Estimate:
    """The mean of independent samples and its 95% bootstrap interval.

    The interval is bias-corrected and accelerated (BCa; Efron 1987), or the percentile interval where BCa does
    not exist, with 9999 resamples drawn from `seed`. Samples that are all equal give an interval of width zero.

    Args:
        values: (n,) with n >= 2.
        seed: of the resampling; the same seed gives the same interval.

    Raises:
        SearchError: fewer than two samples, or one that is not finite.
    """
    data = _array(values)
    mean = float(data.mean())
    if float(np.ptp(data)) == 0.0:
        return Estimate(mean=mean, ci95=(mean, mean), samples=data.size)
    low, high = _interval(data, "BCa", seed)
    if not (np.isfinite(low) and np.isfinite(high)):
        low, high = _interval(data, "percentile", seed)
    return Estimate(mean=mean, ci95=(low, high), samples=data.size)


def paired_difference(first: Tensor | Sequence[float], second: Tensor | Sequence[float], *, seed: int = 0) -> Estimate:
    """`first - second`, sample by sample: the mean and its 95% bootstrap interval.

    Args:
        first: (n,), n >= 2.
        second: (n,), of the same seeds in the same order.
        seed: of the resampling.

    Raises:
        SearchError: the lengths differ, or as `mean_and_ci`.
    """
    a, b = _array(first), _array(second)
    if a.size != b.size:
        raise SearchError(f"a paired difference needs the same samples on both sides, found {a.size} and {b.size}")
    return mean_and_ci([float(x) for x in a - b], seed=seed)


def _array(values: Tensor | Sequence[float]) -> npt.NDArray[np.float64]:
    raw = values.detach().cpu().double().tolist() if isinstance(values, Tensor) else list(values)
    data = np.asarray(raw, dtype=np.float64).reshape(-1)
    if data.size < 2:
        raise SearchError(f"an interval needs at least 2 samples, found {data.size}")
    if not bool(np.isfinite(data).all()):
        raise SearchError(f"{int((~np.isfinite(data)).sum())} of {data.size} samples are not finite")
    return data


def _interval(data: npt.NDArray[np.float64], method: str, seed: int) -> tuple[float, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy warns where BCa is degenerate; the caller falls back
        result = stats.bootstrap(
            (data,),
            np.mean,
            vectorized=True,
            batch=1000,
            n_resamples=_RESAMPLES,
            confidence_level=0.95,
            method=method,
            rng=np.random.default_rng(seed),
        )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)
