"""The best full calls where losses add up: a shortest path, found exactly by dynamic programming."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def shortest_paths(losses: Floats, most: int) -> list[tuple[float, tuple[int, ...]]]:
    """For each number of full calls, the full calls of the schedule with the smallest sum of losses.

    Bellman's recursion over the last two full calls and the number of full calls so far: the calls between a full call
    and the next form one edge, whose length depends on these two, and with extrapolation on the full call before them.

    Args:
        losses: (m, T, T), [i2, i1, j]: loss of partial call j after the full calls i2 < i1; i2 = i1 = 0 before there
            are two. m is T, or 1 where the loss does not depend on i2.
        most: largest number of full calls to consider, at most T.

    Returns:
        loss and full calls, ascending from 0, for 1, 2, ... `most` full calls.
    """
    edges = _edges(losses)
    calls = losses.shape[1]
    ends, best = [edges[0, 0, calls]], [np.full((len(edges), calls), np.inf)]  # best: (i2, i1), of k full calls so far
    best[0][0, 0] = 0.0
    for _ in range(1, most):
        reach = best[-1][:, :, None] + edges[:, :, :calls]  # (i2, i1, next)
        best.append(_next_state(reach))
        ends.append(float((best[-1] + edges[:, :, calls]).min()))
    return [(float(ends[k]), _trace(best[: k + 1], edges)) for k in range(most)]


def _edges(losses: Floats) -> Floats:
    """(m, T, T + 1), [i2, i1, n]: loss of the partial calls after full call i1 and before full call n; T is the end."""
    size, calls, _ = losses.shape
    finite = np.where(np.triu(np.ones((calls, calls), dtype=bool), 1), losses, 0.0)
    sums = np.concatenate([np.zeros((size, calls, 1)), np.cumsum(finite, axis=2)], axis=2)
    forward = np.arange(calls + 1)[None, :] > np.arange(calls)[:, None]
    return np.where(forward, sums, np.inf)


def _next_state(reach: Floats) -> Floats:
    """The shortest ways to the states (i1, next), or (1, next) where i2 does not matter, from those to (i2, i1)."""
    return np.asarray(reach.min(axis=1 if len(reach) == 1 else 0))


def _trace(best: list[Floats], edges: Floats) -> tuple[int, ...]:
    """The path back from the end."""
    calls = edges.shape[1]
    earlier, last = divmod(int((best[-1] + edges[:, :, calls]).argmin()), calls)
    path = [last]
    for states in reversed(best[:-1]):
        if len(edges) == 1:
            last = int((states[0] + edges[0, :, last]).argmin())
        else:
            earlier, last = int((states[:, earlier] + edges[:, earlier, last]).argmin()), earlier
        path.append(last)
    return tuple(reversed(path))
