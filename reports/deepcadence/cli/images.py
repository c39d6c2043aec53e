"""PNG files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from deepcadence.schedules import write_atomically

if TYPE_CHECKING:
    from PIL.Image import Image


def write_image(image: Image, path: Path) -> None:
    """Write a PNG atomically."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    write_atomically(path, buffer.getvalue())
