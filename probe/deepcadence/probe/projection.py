"""Seeded random projections: what stands for features that do not fit in memory."""

from __future__ import annotations

import math

import torch

from deepcadence.schedules.fields import Record

__all__ = ["Projection", "ProjectionInfo", "projection_info", "table_bytes"]

CONFIDENCE = 0.95


class ProjectionInfo(Record):
    """How features were projected, and how far that may lead astray.

    With m dimensions, the projected squared distance of two features has their true squared distance as its mean, and
    a variance of at most 2/m of its square. Chebyshev's inequality turns that into a Johnson-Lindenstrauss bound:
    with a probability of at least `confidence`, for any one pair of one sample, the distance is right to within
    `relative_error` of itself. Lengths are exact, and no bound is claimed for the mean over samples, which is better.
    """

    dimensions: int
    seed: int
    relative_error: float
    confidence: float


def projection_info(dimensions: int, seed: int = 0, confidence: float = CONFIDENCE) -> ProjectionInfo:
    """The error bound of a projection to `dimensions` dimensions."""
    squared = math.sqrt(2 / (dimensions * (1 - confidence)))
    error = 1 - math.sqrt(1 - squared) if squared < 1 else 1.0
    return ProjectionInfo(dimensions=dimensions, seed=seed, relative_error=error, confidence=confidence)


class Projection:
    """A sparse random sign projection from `size` to `dimensions` dimensions.

    Every coordinate gets a random sign and goes to one of `dimensions` equally large groups, drawn at random; the
    groups are summed. That is one nonzero per column, the sparsest of the sparse Johnson-Lindenstrauss transforms
    (Dasgupta, Kumar and Sarlos 2010; Kane and Nelson 2014), and costs one pass over a feature. Where `dimensions` is
    not smaller than `size`, features are kept as they are.

    The same seed, size and dimensions give the same projection on every machine.
    """

    def __init__(self, size: int, dimensions: int, seed: int, device: torch.device) -> None:
        self.size, self.dimensions = size, min(size, dimensions)
        self.group = -(-size // self.dimensions)
        generator = torch.Generator().manual_seed(seed)
        padded = self.group * self.dimensions
        order = torch.randperm(padded, generator=generator)
        # A place past the end of the feature is empty: it reads place 0, with sign 0.
        signs = torch.randint(0, 2, (padded,), generator=generator, dtype=torch.int8) * 2 - 1
        signs[order >= size] = 0
        self._order = order.where(order < size, 0).to(device, torch.int32)
        self._signs = signs.to(device)

    def __call__(self, feature: torch.Tensor) -> torch.Tensor:
        """Project (rows, ...) to float32 (rows, dimensions)."""
        flat = feature.flatten(1)
        if self.dimensions == self.size:
            return flat.float()
        mixed = flat.index_select(1, self._order).float().mul_(self._signs)
        return mixed.view(len(flat), self.dimensions, self.group).sum(-1)


def table_bytes(size: int, dimensions: int) -> int:
    """Memory of the tables of a projection."""
    dimensions = min(size, dimensions)
    return 5 * dimensions * -(-size // dimensions)
