"""Features of images by a network from a local file, for metrics that compare features."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from deepcadence.search.errors import SearchError
from deepcadence.search.quality import check_images

Inputs = Literal["uint8", "unit", "signed"]
"""What an extractor takes: uint8 in [0, 255], float32 in [0, 1], or float32 in [-1, 1]."""


class Features:
    """Maps images (n, 1 or 3, height, width) in [0, 1] to features (n, features) float32.

    Args:
        extractor: a module that maps images (n, 3, height, width) to features (n, ...), or the path of one saved with
            TorchScript. Loading a TorchScript file runs no Python, but use files that you trust.
        inputs: what the extractor takes, see `Inputs`.
        size: side of the square to which images are resized (bilinear, antialiased) before; None leaves them.
        device: where the extractor runs.

    Raises:
        SearchError: the file is missing or no TorchScript.
    """

    def __init__(
        self,
        extractor: str | Path | nn.Module,
        *,
        inputs: Inputs = "uint8",
        size: int | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        module = extractor if isinstance(extractor, nn.Module) else load_extractor(extractor)
        self._device, self._inputs, self._size = torch.device(device), inputs, size
        self._extractor = module.to(self._device).eval()

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """The features, on the extractor's device.

        Raises:
            SearchError: a value of an image or of a feature is not finite, there are neither 1 nor 3 channels, or the
                extractor gave no features.
        """
        check_images(images)
        if images.shape[1] not in (1, 3):
            raise SearchError(f"images have {images.shape[1]} channels; an extractor takes 1 or 3")
        output = self._extractor(self._prepared(images))
        features = output[0] if isinstance(output, (tuple, list)) else output
        if not isinstance(features, Tensor) or features.dim() < 2 or features.shape[0] != images.shape[0]:
            found = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise SearchError(f"the extractor gave {found} for {images.shape[0]} images; expected (n, features)")
        flat = features.flatten(1).float()
        bad = (~torch.isfinite(flat)).any(1).nonzero().flatten().tolist()
        if bad:
            raise SearchError(
                f"the extractor gave features that are not finite for {len(bad)} of {len(flat)} images (first: sample "
                f"{bad[0]} of those given at once); expected finite numbers: see whether the extractor takes "
                f"inputs={self._inputs!r}, and which size"
            )
        return flat

    def _prepared(self, images: Tensor) -> Tensor:
        batch = images.to(self._device, torch.float32).clamp(0, 1)
        if batch.shape[1] == 1:
            batch = batch.expand(-1, 3, -1, -1)
        if self._size is not None and tuple(batch.shape[-2:]) != (self._size, self._size):
            target = (self._size, self._size)
            batch = nn.functional.interpolate(batch, size=target, mode="bilinear", antialias=True).clamp(0, 1)
        if self._inputs == "uint8":
            return (batch * 255).round().to(torch.uint8)
        return batch * 2 - 1 if self._inputs == "signed" else batch


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
