"""Outputs of a denoiser, kept by what they were computed from, for runs that would compute the same again."""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

LIMIT = 2**29
"""Bytes of outputs that are kept: 512 MiB of main memory, wherever the model is. A call of Stable Diffusion 1.5 in
float16 makes 64 KiB a sample."""


class _Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...


def name_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
    """Equal for calls with equal arguments, to the bit: SHA-256 over the values of tensors and over plain data.

    None where there is anything else, or a tensor whose gradient is wanted. Reads the device.
    """
    digest = hashlib.sha256()
    return digest.hexdigest() if _put(digest, [list(args), dict(kwargs)]) else None


def _put(digest: _Digest, value: Any) -> bool:
    """Add a value; False if it is of a kind that cannot be compared by value."""
    if isinstance(value, Tensor):
        if value.requires_grad or value.layout != torch.strided:
            return False
        digest.update(f"{value.dtype} {value.device} {tuple(value.shape)} {value.stride()};".encode())
        digest.update(value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return True
    if type(value) in (list, tuple):
        digest.update(f"{len(value)} items;".encode())
        return all(_put(digest, item) for item in value)
    if type(value) is dict:
        digest.update(f"{len(value)} keys;".encode())
        return all(isinstance(key, str) and _put(digest, key) and _put(digest, item) for key, item in value.items())
    digest.update(f"{value!r};".encode())
    return value is None or isinstance(value, bool | int | float | str)


def mapped(value: Any, change: Callable[[Tensor], Any]) -> Any:
    """`value` with each tensor in it changed: a tensor, or plain data, or lists, tuples, dicts or outputs of diffusers.

    Raises:
        TypeError: there is anything else in it.
    """
    if isinstance(value, Tensor):
        return change(value)
    if type(value) in (list, tuple):
        return type(value)(mapped(item, change) for item in value)
    if isinstance(value, Mapping):
        return type(value)(**{key: mapped(item, change) for key, item in value.items()})
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"found a {type(value).__name__}, expected tensors or plain data")


@dataclass(frozen=True)
class _Kept:
    """An output whose tensors are on the CPU; where they came from, in order; their bytes; which call of a run it was.

    Where the sides of guidance are calls of their own, they are counted each.
    """

    output: Any
    devices: tuple[torch.device, ...]
    nbytes: int
    call: int


class Outputs:
    """Outputs by name, at most `limit` bytes of them.

    To make room, a tenth of that goes at once: the latest calls of a run, which the fewest runs have in common, and of
    those the ones whose last use is longest ago.

    Attributes:
        replayed: calls of this run that were answered from here and not computed, "full" or by cut.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit, self._nbytes, self._call = limit, 0, 0
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self.replayed: Counter[Literal["full"] | int] = Counter()

    def begin(self) -> None:
        """A run begins: its calls are counted from 0."""
        self._call = 0
        self.replayed = Counter()

    @property
    def nbytes(self) -> int:
        """Bytes that the outputs take."""
        return self._nbytes

    def name_of(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
        """See `name_of`; None where nothing is kept."""
        return name_of(args, kwargs) if self._limit else None

    def answer(self, what: Literal["full"] | int, name: Hashable | None, compute: Callable[[], Any]) -> Any:
        """The output of that name, if it is known, counted as a call of the kind `what`; else computed, and kept."""
        found = self.find(what, name)
        return self.compute(name, compute) if found is None else found

    def find(self, what: Literal["full"] | int, name: Hashable | None) -> Any:
        """A copy of the output of that name, counted as a call of the kind `what`; None if it is not known.

        Every call of the denoiser asks once.
        """
        self._call += 1
        kept = self._kept.get(name)
        if kept is None:
            return None
        self._kept.move_to_end(name)
        self.replayed[what] += 1
        devices = iter(kept.devices)
        return mapped(kept.output, lambda tensor: tensor.to(next(devices), copy=True))

    def compute(self, name: Hashable | None, compute: Callable[[], Any]) -> Any:
        """Compute an output, and keep it under that name, unless it is None.

        A denoiser that draws random numbers has no one output: nothing is kept any more.
        """
        before = _generators()
        output = compute()
        if any(not torch.equal(*pair) for pair in zip(before, _generators(), strict=False)):
            self._limit = 0
        if name is not None and name not in self._kept:
            self._keep(name, output)
        self._make_room()
        return output

    def _keep(self, name: Hashable, output: Any) -> None:
        """Unless it is of an unknown kind, or has a gradient, or is larger than all that may be kept."""
        found: list[Tensor] = []
        try:
            mapped(output, found.append)
        except TypeError:
            return
        nbytes = sum(tensor.nbytes for tensor in found)
        if nbytes <= self._limit and not any(tensor.requires_grad for tensor in found):
            copy = mapped(output, lambda tensor: tensor.to("cpu", copy=True))
            self._kept[name] = _Kept(copy, tuple(tensor.device for tensor in found), nbytes, self._call)
            self._nbytes += nbytes

    def _make_room(self) -> None:
        if self._nbytes <= self._limit:
            return
        for name, kept in sorted(self._kept.items(), key=lambda item: -item[1].call):  # of equals, the order is kept
            del self._kept[name]
            self._nbytes -= kept.nbytes
            if self._nbytes <= 0.9 * self._limit:
                return


def _generators() -> list[Tensor]:
    """States of torch's global generators."""
    states = [torch.get_rng_state()]
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        states += torch.cuda.get_rng_state_all()
    return states
