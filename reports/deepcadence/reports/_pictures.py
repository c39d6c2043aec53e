"""Image pairs as PNG data URIs, within a budget."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deepcadence.reports._words import TIMES
from deepcadence.reports.images import ImagePair, ImagePairsInfo, psnr_text

__all__ = ["Pictures", "pictures"]

_BUDGET_BYTES = 1_800_000
_SIDES = (256, 192, 128, 96, 64, 48, 32)
_PIXELATED_UP_TO = 128


@dataclass(frozen=True)
class Picture:
    """One `<img>`."""

    uri: str
    name: str
    alt: str
    width: int
    height: int
    small: bool


@dataclass(frozen=True)
class Pair:
    """One `<figure>`: full, cached, difference."""

    seed: int
    why: str
    psnr: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Pictures:
    """All pairs, and what has to be said about them."""

    pairs: tuple[Pair, ...]
    note: str


def pictures(info: ImagePairsInfo) -> Pictures:
    """PNG data URIs of `info`, scaled down as far as a page of 3 MB needs; the note says so."""
    original = max((max(pair.full.shape[:2]) for pair in info.pairs), default=0)
    sides = [original] if original <= _SIDES[0] else []
    for side in [*sides, *(side for side in _SIDES if side < original)]:
        pairs = tuple(_pair(pair, side, info.amplification) for pair in info.pairs)
        if sum(len(picture.uri) for pair in pairs for picture in pair.pictures) <= _BUDGET_BYTES:
            break
    note = (
        f"{len(info.pairs)} of {info.samples} samples, worst first: the worst, the median and the best by PSNR. "
        f"The same seed gives the full and the cached image; the third picture is their absolute difference, "
        f"{f'amplified {info.amplification}{TIMES}' if info.amplification > 1 else 'not amplified'}."
    )
    if info.pairs and side < original:
        note += f" Shown at {side} of {original} pixels; measured at full size."
    return Pictures(pairs if info.pairs else (), note)


def _pair(pair: ImagePair, side: int, factor: int) -> Pair:
    names = (
        ("full", f"seed {pair.seed}, full run", pair.full),
        ("cached", f"seed {pair.seed}, with the schedule, {psnr_text(pair.psnr)}", pair.cached),
        (
            f"difference {TIMES}{factor}",
            f"seed {pair.seed}, absolute difference, {factor} times amplified",
            pair.difference,
        ),
    )
    shown = tuple(_picture(name, alt, pixels, side) for name, alt, pixels in names)
    return Pair(pair.seed, pair.why, psnr_text(pair.psnr), shown)


def _picture(name: str, alt: str, pixels: NDArray[np.uint8], side: int) -> Picture:
    image = Image.fromarray(pixels)
    if max(image.size) > side:
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
    if np.array_equal(pixels[..., 0], pixels[..., 1]) and np.array_equal(pixels[..., 0], pixels[..., 2]):
        image = image.convert("L")
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    uri = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    return Picture(uri, name, alt, image.width, image.height, max(image.size) <= _PIXELATED_UP_TO)
