"""FID and KID through torchmetrics, with a feature extractor from a local file."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from deepcadence.probe.ranks import gather
from deepcadence.search.errors import SearchError
from deepcadence.search.features import Features, Inputs
from deepcadence.search.fields import Finite


class DistributionValue(BaseModel):
    """FID or KID between two sets of images. `std` is KID's spread over subsets, None for FID."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: Literal["fid", "kid"]
    value: Finite
    std: Finite | None = None
    real_samples: int
    generated_samples: int


class DistributionMetric:
    """Accumulates images in batches, then gives FID (Heusel et al. 2017) or KID (Binkowski et al. 2018).

    In a process group of `torch.distributed` (of the default backends) each rank adds some of the images, and all get
    the value of all images.

    Args:
        metric: "fid" or "kid".
        extractor: a module that maps images (n, 3, height, width) to features (n, features), or the path of one
            saved with TorchScript. Loading a TorchScript file runs no Python, but use files that you trust.
        inputs: what the extractor takes, see `Inputs`.
        size: side of the square to which images are resized (bilinear, antialiased) before; None leaves them.
        device: where the extractor runs.
        subset_size: images of a subset, for KID; never more than either set holds.
        subsets: how many subsets KID draws.
        seed: of that drawing.

    Raises:
        SearchError: the file is missing or no TorchScript.
    """

    def __init__(
        self,
        metric: Literal["fid", "kid"],
        extractor: str | Path | nn.Module,
        *,
        inputs: Inputs = "uint8",
        size: int | None = None,
        device: str | torch.device = "cpu",
        subset_size: int = 1000,
        subsets: int = 100,
        seed: int = 0,
    ) -> None:
        self.metric: Literal["fid", "kid"] = metric
        self._device = torch.device(device)
        self._features = Features(extractor, inputs=inputs, size=size, device=device)
        self._subset_size, self._subsets, self._seed = subset_size, subsets, seed
        self._fid: FrechetInceptionDistance | None = None
        self._kid_features: dict[bool, list[Tensor]] = {True: [], False: []}
        self._counts = {True: 0, False: 0}

    def add(self, images: Tensor, *, real: bool) -> None:
        """Add images (n, 1 or 3, height, width) in [0, 1] to the real or to the generated set.

        Raises:
            SearchError: a value of an image or of a feature is not finite, or there are neither 1 nor 3 channels.
        """
        features = self._features(images)
        self._counts[real] += images.shape[0]
        if self.metric == "kid":
            self._kid_features[real].append(features.cpu())
            return
        if self._fid is None:
            self._fid = FrechetInceptionDistance(feature=_Identity(features.shape[1]), reset_real_features=False)
            self._fid = self._fid.to(self._device)
        self._fid.update(features, real=real)

    def clear_generated(self) -> None:
        """Forget the generated images, keep the real ones."""
        self._counts[False] = 0
        self._kid_features[False] = []
        if self._fid is not None:
            self._fid.reset()

    def compute(self) -> DistributionValue:
        """The value so far.

        Raises:
            SearchError: fewer than two images in either set, a rank that added none to one, or a value that is not
                finite.
        """
        counts = gather(torch.tensor([self._counts[True], self._counts[False]]))
        real, generated = counts.sum(0).tolist()
        if not counts.all() and len(counts) > 1:
            raise SearchError(
                f"{self.metric} needs images of every rank in each set, found {counts[:, 0].tolist()} real and "
                f"{counts[:, 1].tolist()} generated ones"
            )
        if min(real, generated) < 2:
            raise SearchError(f"{self.metric} needs at least 2 images in each set, found {real} and {generated}")
        value, std = self._compute_fid() if self.metric == "fid" else self._compute_kid(min(real, generated))
        try:
            return DistributionValue(
                metric=self.metric, value=value, std=std, real_samples=real, generated_samples=generated
            )
        except ValidationError as error:
            raise SearchError(
                f"{self.metric} came out as {value} (spread over subsets: {std}); expected finite numbers: the "
                "features are too large, or the subsets of kid are of a single image"
            ) from error

    def _compute_fid(self) -> tuple[float, None]:
        if self._fid is None:
            raise SearchError("fid has no images yet")
        return float(self._fid.compute()), None

    def _compute_kid(self, smallest: int) -> tuple[float, float]:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Metric `Kernel Inception Distance` will save")
            kid = KernelInceptionDistance(
                feature=_Identity(), subsets=self._subsets, subset_size=min(self._subset_size, smallest)
            )
        for real, batches in self._kid_features.items():
            kid.update(torch.cat(batches), real=real)
        with torch.random.fork_rng(devices=[]):  # torchmetrics draws its subsets from the global generator
            torch.manual_seed(self._seed)
            mean, std = kid.compute()
        return float(mean), float(std)


def fid(real: Tensor, generated: Tensor, extractor: str | Path | nn.Module, *, inputs: Inputs = "uint8") -> float:
    """Frechet distance between two sets of images (n, 1 or 3, height, width) in [0, 1]; see `DistributionMetric`."""
    return _both("fid", real, generated, extractor, inputs).value


def kid(real: Tensor, generated: Tensor, extractor: str | Path | nn.Module, *, inputs: Inputs = "uint8") -> float:
    """Kernel distance between two sets of images (n, 1 or 3, height, width) in [0, 1]; see `DistributionMetric`."""
    return _both("kid", real, generated, extractor, inputs).value


def _both(
    metric: Literal["fid", "kid"], real: Tensor, generated: Tensor, extractor: str | Path | nn.Module, inputs: Inputs
) -> DistributionValue:
    accumulator = DistributionMetric(metric, extractor, inputs=inputs)
    for images, is_real in ((real, True), (generated, False)):
        for batch in torch.split(images, 64):
            accumulator.add(batch, real=is_real)
    return accumulator.compute()


class _Identity(nn.Module):
    """torchmetrics' `feature` for features that are already there."""

    def __init__(self, num_features: int = 0) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features
