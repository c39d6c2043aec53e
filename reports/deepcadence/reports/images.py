"""Pairs of images, full and cached, with what differs between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import torch
from matplotlib.axes import Axes
from numpy.typing import NDArray
from torch import Tensor

from deepcadence.reports._style import MUTED, axes_or_new, figure_style
from deepcadence.reports._words import TIMES
from deepcadence.reports.front import PSNR_CAP
from deepcadence.reports.tables import Table

Why = Literal["worst", "median", "best"]

_FACTORS: Final = (1, 2, 4, 8, 16, 32)
_MAX_JUDGED: Final = 2**24


@dataclass(frozen=True, eq=False)
class ImagePair:
    """One sample. Images are uint8 of shape (height, width, 3); `psnr` is in dB, 100 or more where both are equal."""

    seed: int
    psnr: float
    why: Why
    full: NDArray[np.uint8]
    cached: NDArray[np.uint8]
    difference: NDArray[np.uint8]
    """|full - cached| times the factor of `ImagePairsInfo`, cut off at white."""


@dataclass(frozen=True, eq=False)
class ImagePairsInfo:
    """Pairs, the worst first, picked from `samples` samples."""

    pairs: tuple[ImagePair, ...]
    amplification: int
    samples: int

    @property
    def table(self) -> Table:
        """One row per pair, PSNR in dB (inf where the images are equal)."""
        return Table(("seed", "why", "psnr"), tuple((pair.seed, pair.why, pair.psnr) for pair in self.pairs))


def image_pairs_info(
    full: Tensor,
    cached: Tensor,
    seeds: Sequence[int] | None = None,
    *,
    psnr: Tensor | Sequence[float] | None = None,
    worst: int = 3,
    median: int = 3,
    best: int = 2,
) -> ImagePairsInfo:
    """Picks the worst, the middle and the best pairs by PSNR, and the factor by which to amplify their differences.

    Args:
        full: images of the uncached run, (n, channels, height, width), channels 1, 3 or 4: float in [0, 1], or uint8.
        cached: the same samples with the schedule.
        seeds: one per sample; 0 to n - 1 where None.
        psnr: one per sample in dB; computed here where None.
        worst: how many of the worst to pick at most. They go first: no sample is shown twice.
        median: how many from the middle of what is left.
        best: how many of the best.

    The factor is the largest power of two up to 32 that leaves 99.5 % of the differences of the pairs shown below
    white, and is the same for all of them.

    Raises:
        ValueError: shapes, `seeds` and `psnr` do not fit each other, or a value is not finite.
    """
    if full.ndim != 4 or full.shape != cached.shape or full.shape[1] not in (1, 3, 4) or len(full) == 0:
        raise ValueError(
            "expected two batches of images of one shape (n, 1|3|4, height, width), n > 0, "
            f"found {tuple(full.shape)} and {tuple(cached.shape)}"
        )
    if not (full.isfinite().all() and cached.isfinite().all()):
        raise ValueError("found images with values that are not finite, expected values from 0 to 1")
    count = len(full)
    seeds = range(count) if seeds is None else seeds
    samples = list(zip(full, cached, strict=True))
    values = [_psnr(*map(_unit, both)) for both in samples] if psnr is None else [float(value) for value in psnr]
    if len(seeds) != count or len(values) != count:
        raise ValueError(f"{count} images, but {len(seeds)} seeds and {len(values)} PSNR values")
    picks = _pick(values, worst, median, best)
    factor = _factor([(full[index], cached[index]) for index in picks])
    pairs = tuple(
        ImagePair(
            seed=int(seeds[index]),
            psnr=values[index],
            why=why,
            full=_pixels(_unit(full[index])),
            cached=_pixels(_unit(cached[index])),
            difference=_pixels((_difference(full[index], cached[index])[:3] * factor).clamp(0, 1)),
        )
        for index, why in picks.items()
    )
    return ImagePairsInfo(pairs=pairs, amplification=factor, samples=count)


def _unit(image: Tensor) -> Tensor:
    """One image as float32 in [0, 1], on the CPU."""
    values = image.detach().cpu().float()
    return values / 255 if image.dtype == torch.uint8 else values.clamp(0, 1)


def _psnr(full: Tensor, cached: Tensor) -> float:
    """In dB; channel by channel, since a large image in double precision is very large."""
    squares = [(one.double() - other.double()).pow_(2).sum().item() for one, other in zip(full, cached, strict=True)]
    error = sum(squares) / full.numel()
    return math.inf if error == 0 else -10 * math.log10(error)


def _pick(values: Sequence[float], worst: int, median: int, best: int) -> dict[int, Why]:
    """Sample index -> why it is shown, ordered from worst to best."""
    order = sorted(range(len(values)), key=lambda index: (values[index], index))
    picks: dict[int, Why] = dict.fromkeys(order[: min(worst, max(1, len(order) - best))], "worst")
    for index in order[len(order) - best :] if best else []:
        picks.setdefault(index, "best")
    left = [index for index in order if index not in picks]
    start = max(0, (len(left) - median) // 2)
    picks.update(dict.fromkeys(left[start : start + median], "median"))
    return {index: picks[index] for index in order if index in picks}


def _difference(full: Tensor, cached: Tensor) -> Tensor:
    return (_unit(full) - _unit(cached)).abs()


def _factor(pairs: Sequence[tuple[Tensor, Tensor]]) -> int:
    """The factor for the differences of these pairs; of very many values, evenly spaced ones are judged."""
    step = -(-sum(full.numel() for full, _ in pairs) // _MAX_JUDGED)
    if not step:
        return 1
    judged = [_difference(*both).flatten()[::step].clone().numpy() for both in pairs]
    high = float(np.quantile(np.concatenate(judged), 0.995))
    return max((factor for factor in _FACTORS if factor * high <= 1), default=1)


def _pixels(image: Tensor) -> NDArray[np.uint8]:
    """(channels, height, width) in [0, 1] to (height, width, 3); an alpha channel is left out."""
    color = image[:3] if image.shape[0] >= 3 else image[:1].expand(3, -1, -1)
    pixels = (color * 255).round().to(torch.uint8).permute(1, 2, 0)
    return np.ascontiguousarray(pixels.numpy())


def psnr_text(value: float) -> str:
    """`31.2 dB`, or `equal` for two images without any difference."""
    return "equal" if value >= PSNR_CAP else f"{value:.1f} dB"


def plot_image_pairs(info: ImagePairsInfo, ax: Axes | None = None) -> Axes:
    """Draws one column per pair: the full image, the cached one and the amplified difference, below each other."""
    height, width = info.pairs[0].full.shape[:2] if info.pairs else (1, 1)
    gap = max(1, width // 16)
    canvas = np.zeros((3 * height + 2 * gap, max(1, len(info.pairs)) * (width + gap) - gap, 4), dtype=np.uint8)
    for column, pair in enumerate(info.pairs):
        left = column * (width + gap)
        for row, image in enumerate((pair.full, pair.cached, pair.difference)):
            top = row * (height + gap)
            canvas[top : top + height, left : left + width, :3] = image
            canvas[top : top + height, left : left + width, 3] = 255
    with figure_style():
        columns = max(1, len(info.pairs))
        ax = axes_or_new(ax, 1.1 + 0.9 * columns, 0.5 + 2.7 * height / width)
        ax.imshow(canvas, interpolation="none")
        for row, name in enumerate(("full", "cached", f"difference {TIMES}{info.amplification}")):
            ax.text(-gap, row * (height + gap) + height / 2, name, ha="right", va="center")
        for column, pair in enumerate(info.pairs):
            center = column * (width + gap) + width / 2
            ax.text(center, -gap, f"{pair.why}\n{psnr_text(pair.psnr)}", ha="center", va="bottom", color=MUTED)
        ax.set_axis_off()
    return ax
