"""Image tensors as pictures."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

__all__ = ["grid", "to_pil"]


def to_pil(image: Tensor) -> Image:
    """A float (channels, height, width) tensor in [0, 1] as an 8-bit image; one channel is gray."""
    from PIL import Image

    values = (image.clamp(0, 1) * 255).round().byte().cpu()
    if values.shape[0] == 1:
        return Image.fromarray(values[0].numpy())
    return Image.fromarray(values.permute(1, 2, 0).contiguous().numpy())


def grid(images: Tensor, columns: int, scale: int = 1) -> Image:
    """Images (n, channels, height, width) in rows of `columns`, each pixel `scale` pixels wide."""
    from PIL import Image

    tiles = [to_pil(image) for image in images]
    width, height = tiles[0].size
    sheet = Image.new(tiles[0].mode, (columns * width, math.ceil(len(tiles) / columns) * height))
    for index, tile in enumerate(tiles):
        sheet.paste(tile, (index % columns * width, index // columns * height))
    return sheet.resize((sheet.width * scale, sheet.height * scale), Image.Resampling.NEAREST)
