"""FID and KID through torchmetrics, with a feature extractor from a local file."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from deepcadence.probe.ranks import gather
from deepcadence.search.errors import SearchError
from deepcadence.search.quality import check_images

Inputs = Literal["uint8", "unit", "signed"]
"""What an extractor takes: uint8 in [0, 255], float32 in [0, 1], or float32 in [-1, 1]."""


class DistributionValue(BaseModel):
    """FID or KID between two sets of images. `std` is KID's spread over subsets, None for FID."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: Literal["fid", "kid"]
    value: float
    std: float | None = None
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
        module = extractor if isinstance(extractor, nn.Module) else load_extractor(extractor)
        self.metric: Literal["fid", "kid"] = metric
        self._device = torch.device(device)
        self._inputs: Inputs = inputs
        self._size = size
        self._subset_size, self._subsets, self._seed = subset_size, subsets, seed
        self._features = _Features(module).to(self._device).eval()
        self._fid: FrechetInceptionDistance | None = None
        self._kid_features: dict[bool, list[Tensor]] = {True: [], False: []}
        self._counts = {True: 0, False: 0}

    def add(self, images: Tensor, *, real: bool) -> None:
        """Add images (n, 1 or 3, height, width) in [0, 1] to the real or to the generated set.

        Raises:
            SearchError: a value is not finite, or there are neither 1 nor 3 channels.
        """
        features = self._extract(images)
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
            SearchError: fewer than two images in either set, or a rank that added none to one.
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
        return DistributionValue(
            metric=self.metric, value=value, std=std, real_samples=real, generated_samples=generated
        )

    @torch.no_grad()
    def _extract(self, images: Tensor) -> Tensor:
        check_images(images)
        if images.shape[1] not in (1, 3):
            raise SearchError(f"images have {images.shape[1]} channels; {self.metric} takes 1 or 3")
        batch = images.to(self._device, torch.float32).clamp(0, 1)
        if batch.shape[1] == 1:
            batch = batch.expand(-1, 3, -1, -1)
        if self._size is not None and tuple(batch.shape[-2:]) != (self._size, self._size):
            target = (self._size, self._size)
            batch = nn.functional.interpolate(batch, size=target, mode="bilinear", antialias=True).clamp(0, 1)
        if self._inputs == "uint8":
            batch = (batch * 255).round().to(torch.uint8)
        elif self._inputs == "signed":
            batch = batch * 2 - 1
        features: Tensor = self._features(batch)
        return features

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


def load_extractor(path: str | Path) -> nn.Module:
    """A TorchScript module from a local file, on the CPU, in eval mode.

    Raises:
        SearchError: no such file, or not TorchScript.
    """
    file = Path(path)
    if not file.is_file():
        raise SearchError(f"{file}: no such file; expected a feature extractor saved with torch.jit.save")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="`torch.jit.load` is deprecated", category=DeprecationWarning)
            module: nn.Module = torch.jit.load(str(file), map_location="cpu")  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise SearchError(f"{file}: not a TorchScript file ({str(error).splitlines()[0]})") from error
    return module.eval()


def _both(
    metric: Literal["fid", "kid"], real: Tensor, generated: Tensor, extractor: str | Path | nn.Module, inputs: Inputs
) -> DistributionValue:
    accumulator = DistributionMetric(metric, extractor, inputs=inputs)
    for images, is_real in ((real, True), (generated, False)):
        for batch in torch.split(images, 64):
            accumulator.add(batch, real=is_real)
    return accumulator.compute()


class _Features(nn.Module):
    """The extractor, its output flattened to (n, features) float32."""

    def __init__(self, extractor: nn.Module) -> None:
        super().__init__()
        self.extractor = extractor

    def forward(self, images: Tensor) -> Tensor:
        output = self.extractor(images)
        features = output[0] if isinstance(output, (tuple, list)) else output
        if not isinstance(features, Tensor) or features.dim() < 2 or features.shape[0] != images.shape[0]:
            found = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise SearchError(f"the extractor gave {found} for {images.shape[0]} images; expected (n, features)")
        return features.flatten(1).float()


class _Identity(nn.Module):
    """torchmetrics' `feature` for features that are already there."""

    def __init__(self, num_features: int = 0) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features
