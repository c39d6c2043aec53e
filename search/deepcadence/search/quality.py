"""Quality of images against the uncached model's images of the same seeds."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from deepcadence.search.errors import SearchError

PSNR_CAP = 100.0
"""Highest PSNR, in dB: identical images have an infinite one, which would make means and intervals infinite too."""


def psnr(images: Tensor, reference: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image, in dB, for values in [0, 1].

    Args:
        images: (n, channels, height, width), values in [0, 1].
        reference: the same shape; what the uncached model gives on the same seeds.

    Returns:
        (n,) float32. Identical images give `PSNR_CAP` (100 dB), which no float32 image pair of different
        8-bit images reaches.

    Raises:
        SearchError: the shapes differ, or a value is not finite.
    """
    check_images(images, reference)
    values: Tensor = peak_signal_noise_ratio(
        images.float(), reference.float(), data_range=1.0, reduction="none", dim=(1, 2, 3)
    )
    return values.clamp(max=PSNR_CAP)


def ssim(images: Tensor, reference: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004) of each image, for values in [0, 1], with a Gaussian window of 11.

    Args and errors are those of `psnr`. Images less than 6 pixels wide or high, which that window does not fit,
    get a flat window of 3 (of 1 below 2 pixels).

    Returns:
        (n,) float32, 1 for identical images.
    """
    check_images(images, reference)
    values = structural_similarity_index_measure(
        images.float(), reference.float(), data_range=1.0, reduction="none", **_window(images)
    )
    if isinstance(values, tuple):
        values = values[0]
    return values.reshape(images.shape[0])


def check_images(images: Tensor, reference: Tensor | None = None) -> None:
    """Raise `SearchError` unless `images` are finite, 4-dimensional and of the shape of `reference`."""
    if images.dim() != 4 or images.shape[0] == 0:
        raise SearchError(f"images have shape {tuple(images.shape)}; expected (n, channels, height, width) with n > 0")
    if reference is not None and images.shape != reference.shape:
        raise SearchError(f"images have shape {tuple(images.shape)}, the reference {tuple(reference.shape)}")
    for what, values in (("images", images), ("reference images", reference)):
        if values is not None and not bool(torch.isfinite(values).all()):
            bad = [i for i, image in enumerate(values) if not bool(torch.isfinite(image).all())]
            raise SearchError(
                f"{len(bad)} of {len(values)} {what} hold values that are not finite (first: sample {bad[0]}); "
                "the run overflowed: try another dtype, or a cut that changes less"
            )


def _window(images: Tensor) -> dict[str, Any]:
    """The default window pads by reflecting 5 pixels, so that smaller images need a smaller one."""
    side = min(images.shape[-2:])
    return {} if side >= 6 else {"gaussian_kernel": False, "kernel_size": 3 if side >= 2 else 1}
