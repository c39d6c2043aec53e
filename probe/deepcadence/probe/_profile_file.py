"""Profiles on disk: safetensors, whose header is checked to the byte before anything is read into memory."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import torch
from pydantic import ValidationError

from deepcadence.probe._extras import require
from deepcadence.probe.errors import ProfileError
from deepcadence.probe.info import ProfileInfo
from deepcadence.schedules import write_atomically
from deepcadence.schedules.fields import describe
from deepcadence.schedules.problems import schedule_error
from deepcadence.schedules.text import unique_keys

__all__ = ["read_profile", "write_profile"]

MATRICES = tuple(
    name + suffix for name in ("cosine", "relative_l2", "relative_l1", "output_error") for suffix in ("", "_std")
)
_KEY = "deepcadence"
_MAX_HEADER = 8 * 2**20
_BYTES = 4  # of a float32


def write_profile(path: str | PathLike[str], tensors: Mapping[str, torch.Tensor], meta: ProfileInfo) -> None:
    """See `Profile.save`."""
    save = require("safetensors.torch").save
    _check_values(str(path), tensors, meta)
    plain = {name: tensor.detach().to("cpu", torch.float32).contiguous() for name, tensor in tensors.items()}
    text = meta.model_dump_json(by_alias=True)
    write_atomically(path, save(plain, metadata={_KEY: text}))


def read_profile(path: str | PathLike[str]) -> tuple[dict[str, torch.Tensor], ProfileInfo]:
    """See `Profile.load`."""
    source = str(path)
    try:
        with Path(path).open("rb") as file:
            total = os.fstat(file.fileno()).st_size
            header = _header(source, file, total)
            meta = _meta(source, header)
            offsets = _layout(source, header, meta, total - file.tell())
            start = file.tell()
            tensors = {name: _read(file, start + offset, meta) for name, offset in offsets.items()}
    except OSError as error:
        raise ProfileError(f"{source}: cannot be read ({error.strerror or error}); expected a profile") from error
    _check_values(source, tensors, meta)
    return tensors, meta


def _refuse(source: str, place: str, found: str, expected: str) -> NoReturn:
    raise ProfileError(f"{source}: {place}: found {found}, expected {expected}")


def _header(source: str, file: BinaryIO, total: int) -> dict[str, Any]:
    prefix = file.read(8)
    length = int.from_bytes(prefix, "little")
    if len(prefix) < 8 or not 2 <= length <= min(_MAX_HEADER, total - 8):
        found = f"{len(prefix)} bytes" if len(prefix) < 8 else f"a header of {length} bytes in a file of {total}"
        _refuse(source, "byte 0", found, "a profile in the safetensors format")
    try:
        header = json.loads(file.read(length).decode("utf-8"), object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        _refuse(source, "header", f"no valid JSON ({error})", "the header of a safetensors file")
    if not isinstance(header, dict):
        _refuse(source, "header", f"a JSON {type(header).__name__}", "an object")
    return header


def _meta(source: str, header: Mapping[str, Any]) -> ProfileInfo:
    metadata = header.get("__metadata__")
    text = metadata.get(_KEY) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        _refuse(source, f"__metadata__.{_KEY}", describe(text), "the description of a profile; is this another file?")
    try:
        content = json.loads(text, object_pairs_hook=unique_keys)
        return ProfileInfo.model_validate(content)
    except ValidationError as error:
        known = {"": [field.alias or name for name, field in ProfileInfo.model_fields.items()]}
        raise ProfileError(str(schedule_error(f"{source}: metadata", error, known))) from error
    except (ValueError, RecursionError) as error:
        _refuse(source, f"__metadata__.{_KEY}", f"no valid JSON ({error})", "the description of a profile")


def _shape(meta: ProfileInfo) -> tuple[int, int, int]:
    return len(meta.cuts), meta.num_calls, meta.num_calls


def _layout(source: str, header: Mapping[str, Any], meta: ProfileInfo, available: int) -> dict[str, int]:
    """Where each matrix begins in the data, which they must fill without gap or overlap."""
    odd = sorted({name for name in header if name != "__metadata__"} ^ set(MATRICES))
    if odd:
        found = f"{'also' if odd[0] in header else 'no'} {describe(odd[0])}"
        _refuse(source, "header", found, f"the matrices {', '.join(MATRICES)}")
    shape = list(_shape(meta))
    size = math.prod(shape) * _BYTES
    if available != size * len(MATRICES):
        _refuse(source, "data", f"{available} bytes", f"{size * len(MATRICES)}, {len(MATRICES)} matrices of {shape}")
    begins: dict[str, int] = {}
    for name in MATRICES:
        entry = header[name] if isinstance(header[name], dict) else {}
        _expect(source, f"{name}.dtype", entry.get("dtype"), "F32")
        _expect(source, f"{name}.shape", entry.get("shape"), shape)
        span = entry.get("data_offsets")
        begin = span[0] if isinstance(span, list) and span else None
        if type(begin) is not int or begin % size or begin in begins.values():
            _refuse(source, f"{name}.data_offsets", str(span)[:60], f"a place of its own, a multiple of {size}")
        _expect(source, f"{name}.data_offsets", span, [begin, begin + size])
        if not 0 <= begin < available:
            _refuse(source, f"{name}.data_offsets", str(span), f"a place within {available} bytes")
        begins[name] = begin
    return begins


def _expect(source: str, place: str, found: Any, expected: Any) -> None:
    if found != expected:
        _refuse(source, place, str(found)[:60], str(expected))


def _read(file: BinaryIO, offset: int, meta: ProfileInfo) -> torch.Tensor:
    file.seek(offset)
    data = bytearray(file.read(math.prod(_shape(meta)) * _BYTES))
    values = torch.frombuffer(data, dtype=torch.int32)
    if sys.byteorder == "big":
        values = values.view(torch.uint8).view(-1, _BYTES).flip(1).contiguous().view(torch.int32).view(-1)
    return values.view(torch.float32).view(_shape(meta))


def _check_values(source: str, tensors: Mapping[str, torch.Tensor], meta: ProfileInfo) -> None:
    """Matrices of the right shape and with possible values: no infinity, nan only where nothing may be known."""
    for name in MATRICES:
        tensor = tensors[name]
        _expect(source, f"{name}.shape", list(tensor.shape), list(_shape(meta)))
        unknown = name.endswith("_std") or name == "output_error" or (name == "relative_l1" and meta.projection)
        low, high = (-1.0, 1.0) if name == "cosine" else (0.0, float("inf"))
        wrong = ~((tensor >= low) & (tensor <= high) & ~tensor.isinf())
        if unknown:
            wrong &= ~tensor.isnan()
        if wrong.any():
            cut, i, j = wrong.nonzero()[0].tolist()
            expected = f"a number from {low:g} to {high:g}" if name == "cosine" else "a finite number of at least 0"
            _refuse(source, f"{name}[{cut}, {i}, {j}]", f"{tensor[cut, i, j].item():g}", expected)
