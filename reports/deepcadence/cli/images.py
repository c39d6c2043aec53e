"""PNG files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from deepcadence.schedules import write_atomically

if TYPE_CHECKING:
    from PIL.Image import Image


STEPS = "num_inference_steps"
"""The text in a PNG that says with how many sampling steps it was made."""


def write_image(image: Image, path: Path, *, steps: int | None = None) -> None:
    """Write a PNG atomically."""
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    if steps:
        text.add_text(STEPS, str(steps))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=text)
    write_atomically(path, buffer.getvalue())
