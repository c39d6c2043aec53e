"""The schedules that a predictor holds to be best at each cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deepcadence.search.local_search import climb
from deepcadence.search.predictor import FULL, Calls, Floats, Predictor
from deepcadence.search.shortest_path import shortest_paths

_HIGHEST_PRICE = 0.8  # of a run that saves less nobody wants to know more
_STEEPER = (0.6, 1.0, 1.6)
_AROUND = 4
_STARTS = 6


@dataclass(frozen=True)
class Point:
    """A schedule, (T,), its MACs as a part of the uncached run's, and its predicted PSNR in dB."""

    calls: Calls
    price: float
    psnr: float


def predicted_front(predictor: Predictor, count: int, starts: Calls | None = None) -> list[Point]:
    """About `count` schedules that no other is predicted to beat in both cost and quality, cheapest first.

    The shortest paths are exact for the sum of lengths, an upper bound of the length of the sum that the predictor
    takes. From there on, small changes raise the predicted PSNR, less what the MACs are worth there: about the
    slope of the front itself. `starts`, (n, T), replaces the shortest paths as what it begins from.
    """
    front = _front(_points(predictor, paths(predictor) if starts is None else starts))
    front = _front([*front, *_improved(predictor, _thinned(front, 2 * count))])
    return _thinned(front, count)


def best_within(predictor: Predictor, target_speedup: float, *starts: Calls) -> list[Point]:
    """The schedules predicted to be best among those that save `target_speedup`, best first.

    Where small changes that keep to that end, from the best few of each of `starts`, (n, T).
    """

    def score(calls: Calls) -> Floats:
        return np.where(predictor.price(calls) * target_speedup <= 1, predictor.psnr(calls), -np.inf)

    ends: list[Calls] = []
    for calls in starts:
        scores = score(calls)
        best = [number for number in np.argsort(-scores)[:_STARTS] if np.isfinite(scores[number])]
        ends += [climb(calls[number], score, len(predictor.cuts)) for number in best]
    found = _points(predictor, np.unique(np.array(ends), axis=0)) if ends else []
    return sorted(found, key=lambda point: -point.psnr)


def paths(predictor: Predictor) -> Calls:
    """The best schedules for the sum of lengths, by number of full calls: with any one cut, and with mixed cuts."""
    norms = predictor.norms()
    calls, cuts = predictor.num_calls, len(predictor.cuts)
    found = []
    for place in range(cuts):
        choice = np.full(norms.shape[1:], place)
        found += [_schedule(choice, full) for _, full in shortest_paths(norms[place], calls)]
    for worth in _worths(predictor, norms):
        found += mixed(norms + worth * predictor.prices[:-1, None, None, None])
    return np.unique(np.array(found), axis=0)


def mixed(losses: Floats) -> list[Calls]:
    """For each number of full calls the schedule with the least sum of losses (cuts, i2, i1, j), cuts mixed at will."""
    choice = losses.argmin(axis=0)
    return [_schedule(choice, full) for _, full in shortest_paths(losses.min(axis=0), losses.shape[-1])]


def _worths(predictor: Predictor, norms: Floats) -> Floats:
    """What a full call's MACs may be worth in length, such that cuts are mixed: from little to much."""
    if len(predictor.cuts) < 2:
        return np.empty(0)
    lengths = norms[np.isfinite(norms) & (norms > 0)]
    return np.asarray(np.quantile(lengths, [0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]))


def _schedule(choice: Calls, full: tuple[int, ...]) -> Calls:
    """The schedule with these full calls, and at the others the cut that `choice`, (i2, i1, j), says."""
    calls = np.full(choice.shape[-1], FULL)
    for number, start in enumerate(full):
        earlier = full[max(0, number - 1)] if len(choice) > 1 else 0
        stop = full[number + 1] if number + 1 < len(full) else len(calls)
        calls[start + 1 : stop] = choice[earlier, start, start + 1 : stop]
    return calls


def _points(predictor: Predictor, calls: Calls) -> list[Point]:
    values = zip(calls, predictor.price(calls), predictor.psnr(calls), strict=True)
    return [Point(each, float(price), float(psnr)) for each, price, psnr in values]


def _improved(predictor: Predictor, starts: list[Point]) -> list[Point]:
    """Where climbing from each point ends."""
    ends: list[Calls] = []
    for start, slope in zip(starts, _slopes(starts), strict=True):
        for factor in _STEEPER:

            def score(calls: Calls, worth: float = factor * slope) -> Floats:
                return predictor.psnr(calls) - worth * predictor.price(calls)

            ends.append(climb(start.calls, score, len(predictor.cuts)))
    return _points(predictor, np.unique(np.array(ends), axis=0)) if ends else []


def _slopes(front: list[Point]) -> list[float]:
    """Slopes in dB per part of the MACs, at each point of a front: of a line through the points around it."""
    slopes = []
    for place in range(len(front)):
        around = front[max(0, place - _AROUND) : place + _AROUND + 1]
        prices, values = [point.price for point in around], [point.psnr for point in around]
        slopes.append(float(np.polyfit(prices, values, 1)[0]) if len(around) > 1 else 0.0)
    return slopes


def _front(points: list[Point]) -> list[Point]:
    """The points that no other beats, cheapest first, up to the highest price of interest."""
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point.price, -point.psnr)):
        if point.price <= _HIGHEST_PRICE and (not front or point.psnr > front[-1].psnr):
            front.append(point)
    return front


def _thinned(front: list[Point], count: int) -> list[Point]:
    """At most `count` points, evenly in price."""
    if len(front) <= count:
        return front
    prices = np.array([point.price for point in front])
    wanted = np.linspace(prices[0], prices[-1], count)
    chosen = sorted({int(np.abs(prices - price).argmin()) for price in wanted})
    return [front[number] for number in chosen]
