"""Mean and spread over samples, without keeping the samples."""

from __future__ import annotations

import torch

__all__ = ["Moments"]


class Moments:
    """Running mean and sum of squared deviations (Welford; Chan et al. 1983), elementwise, in float64."""

    def __init__(self) -> None:
        self.count = 0
        self._mean = torch.zeros(())
        self._squares = torch.zeros(())

    def add(self, samples: torch.Tensor) -> None:
        """Take in samples, the first dimension of `samples`."""
        values = samples.cpu().double()
        for value in values:
            self.count += 1
            delta = value - self._mean
            self._mean = self._mean + delta / self.count
            self._squares = self._squares + delta * (value - self._mean)

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
