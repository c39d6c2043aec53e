"""Quality of images against the uncached model's images of the same seeds: PSNR, SSIM, or a function of one's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from deepcadence.search.errors import SearchError

Metric = Literal["psnr", "ssim"]
"""Quality that a study maximizes: mean PSNR (dB) or mean SSIM against the uncached run."""

QualityFunction = Callable[[Tensor, Tensor, tuple[str, ...]], Tensor]
"""One's own quality: `function(images, reference, prompts)` gives (n,) values, higher is better. Both images are
(n, channels, height, width) float32 on the CPU in [0, 1], of the same seeds; prompts are those of the images, or ()."""

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
        SearchError: the shapes differ, a value is not finite, or values are so large that the PSNR is not finite.
    """
    check_images(images, reference)
    values: Tensor = peak_signal_noise_ratio(
        images.float(), reference.float(), data_range=1.0, reduction="none", dim=(1, 2, 3)
    )
    return _finite("PSNR", values.clamp(max=PSNR_CAP), images, reference)


def ssim(images: Tensor, reference: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004) of each image, for values in [0, 1], with a Gaussian window of 11.

    The mean over the whole image, mirrored at its borders; scikit-image leaves 5 pixels out at each border instead.

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
    values = values.reshape(images.shape[0]).clamp(max=1)  # of identical images, rounding may give a little more
    return _finite("SSIM", values, images, reference)


def metric_name(metric: str | QualityFunction) -> str:
    """What a study calls its quality: "psnr", "ssim", or the name of the function (of its class, for an object).

    Raises:
        SearchError: the name is neither, or a function is called like one of the two.
    """
    known = get_args(Metric)
    if isinstance(metric, str):
        if metric not in known:
            raise SearchError(f"there is no metric {metric!r}; expected {', '.join(known)}, or a function")
        return metric
    name = str(getattr(metric, "__name__", type(metric).__name__))
    if name in known:
        raise SearchError(f"the quality function is called {name!r}, as one of ours; expected another name")
    return name


def check_function(metric: str, function: QualityFunction | None) -> None:
    """Raise `SearchError` unless `function` is what a study's `metric` names: None for "psnr" and "ssim"."""
    known = metric in get_args(Metric)
    found = None if function is None else metric_name(function)
    if (known and found is not None) or (not known and found != metric):
        expected = "no function" if known else f"the function {metric!r}"
        raise SearchError(f"the study's quality is {metric!r}: found {found or 'no function'}, expected {expected}")


def own_quality(function: QualityFunction, images: Tensor, reference: Tensor, prompts: tuple[str, ...]) -> Tensor:
    """The (n,) float32 values of a function of one's own.

    Raises:
        SearchError: it gave another shape, or a value that is not finite.
    """
    values = torch.as_tensor(function(images, reference, prompts)).detach().to("cpu", torch.float32)
    if tuple(values.shape) != (len(images),) or not bool(torch.isfinite(values).all()):
        raise SearchError(
            f"the quality function {metric_name(function)!r} gave values of shape {tuple(values.shape)}, "
            f"{int((~torch.isfinite(values)).sum())} of them not finite; expected ({len(images)},), all finite"
        )
    return values


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


def _finite(name: str, values: Tensor, images: Tensor, reference: Tensor) -> Tensor:
    """The (n,) values of a metric; raises `SearchError` unless all are finite: float32 holds no square above 3e38."""
    bad = (~torch.isfinite(values)).nonzero().flatten().tolist()
    if bad:
        first = bad[0]
        largest = max(float(each[first].abs().max()) for each in (images, reference))
        raise SearchError(
            f"{name} is not finite for {len(bad)} of {len(values)} images (first: sample {first}, with a value of "
            f"{largest:.3g} in it or its reference); expected values in [0, 1]: the run diverged, try another dtype, "
            "or a cut that changes less"
        )
    return values


def _window(images: Tensor) -> dict[str, Any]:
    """The default window pads by reflecting 5 pixels, so that smaller images need a smaller one."""
    side = min(images.shape[-2:])
    return {} if side >= 6 else {"gaussian_kernel": False, "kernel_size": 3 if side >= 2 else 1}
