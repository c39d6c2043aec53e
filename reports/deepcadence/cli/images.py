"""PNG files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from deepcadence.schedules import DeepcadenceError, write_atomically

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL.Image import Image
    from torch import Tensor


STEPS = "num_inference_steps"
"""The text in a PNG that says with how many sampling steps it was made."""


class NotFiniteError(DeepcadenceError, ValueError):
    """A model made an image that is none: its values are not finite."""


def check_finite(images: Tensor, seeds: Sequence[int]) -> Tensor:
    """`images`, one a seed, once it is known that all their values are finite.

    Raises:
        NotFiniteError: those of a seed are not.
    """
    for seed, image in zip(seeds, images, strict=True):
        if not image.isfinite().all():
            raise NotFiniteError(
                f"seed {seed}: found an image with values that are not finite (NaN or infinite), expected values from "
                "0 to 1; float16 is too narrow for some models: try --dtype float32, or bfloat16"
            )
    return images


def write_image(image: Image, path: Path, *, steps: int | None = None) -> None:
    """Write a PNG atomically."""
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    if steps:
        text.add_text(STEPS, str(steps))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=text)
    write_atomically(path, buffer.getvalue())
