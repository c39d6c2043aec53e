"""A bound on the memory that loading a model takes, whatever its config asks for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["allocating_at_most"]


@contextmanager
def allocating_at_most(elements: int) -> Iterator[None]:
    """`RuntimeError` before this thread makes tensors of more than so many elements in all inside, meta ones apart."""
    with _Allocations(elements):
        yield


class _Allocations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what operations that make tensors of a given size are asked for, before they run."""

    def __init__(self, limit: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._limit = self._left = limit

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        self._left -= _elements(func, args, kwargs)
        if self._left < 0:
            raise RuntimeError(
                f"found a config that asks for tensors of more than {self._limit} elements in all, expected no more "
                "than the files of weights account for"
            )
        return func(*args, **kwargs)


def _elements(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    """How many elements an operation makes; 0 for one that takes its size from tensors with values."""
    names = [argument.name for argument in func._schema.arguments]
    given = dict(zip(names, args, strict=False)) | dict(kwargs)
    made_of = given.get("self")
    device = given.get("device") or getattr(made_of, "device", None)
    if device is not None and torch.device(device).type == "meta":
        return 0
    name = func.overloadpacket.__name__
    if name == "repeat" and isinstance(made_of, torch.Tensor):
        return int(made_of.numel() * math.prod(given["repeats"]))
    if "device" not in names:  # it makes no tensor from nothing
        return 0
    if "size" in given:
        return int(math.prod(given["size"]))
    if name.endswith("_like") and isinstance(made_of, torch.Tensor):
        return int(made_of.numel())
    return max(0, _counted(name, given))


def _counted(name: str, given: Mapping[str, Any]) -> int:
    """For the operations that are not told a size as such."""
    if name == "arange":
        count: int = math.ceil((given["end"] - given.get("start", 0)) / given.get("step", 1))
        return count
    if name in ("linspace", "logspace"):
        return int(given["steps"])
    return int(given["n"] * given.get("m", given["n"])) if name == "eye" else 0
