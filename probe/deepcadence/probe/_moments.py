"""Mean and spread over samples, without keeping the samples."""

from __future__ import annotations

import torch

from deepcadence.probe.ranks import gather

__all__ = ["Moments"]


class Moments:
    """Running mean and sum of squared deviations (Welford; Chan et al. 1983), elementwise, in float64."""

    def __init__(self) -> None:
        self.count = 0
        self._mean = torch.zeros((), dtype=torch.float64)
        self._squares = torch.zeros((), dtype=torch.float64)

    def add(self, samples: torch.Tensor) -> None:
        """Take in samples, the first dimension of `samples`."""
        values = samples.cpu().double()
        for value in values:
            self.count += 1
            delta = value - self._mean
            self._mean = self._mean + delta / self.count
            self._squares = self._squares + delta * (value - self._mean)

    def join(self, shape: tuple[int, ...]) -> None:
        """Take in the samples, of that shape, of all other ranks, which do the same."""
        counts = gather(torch.tensor(self.count))
        if len(counts) == 1 or not counts.any():
            return
        means, squares = gather(self._mean.expand(shape)), gather(self._squares.expand(shape))
        parts = counts.double().reshape(-1, *[1] * len(shape))
        self.count = int(counts.sum())
        self._mean = (parts * means).sum(0) / self.count
        self._squares = (squares + parts * (means - self._mean).square()).sum(0)

    @property
    def mean(self) -> torch.Tensor:
        """float32."""
        return self._mean.float()

    @property
    def std(self) -> torch.Tensor:
        """Standard deviation of the samples (n - 1 in the denominator), float32; nan for a single sample."""
        if self.count < 2:
            return torch.full_like(self._mean, float("nan")).float()
        return (self._squares / (self.count - 1)).sqrt().float()
