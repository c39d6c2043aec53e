"""Processes that share the work: each rank of `torch.distributed` takes some of it, and what they find is joined."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import distributed

__all__ = ["gather", "process_group", "share"]


@contextmanager
def process_group() -> Iterator[int]:
    """Within it the processes that `torchrun` started are a group, each with a GPU of its own where there are any.

    Gives the rank of this process: 0 where it is alone. What is exchanged is small, and goes through gloo.
    """
    if not distributed.is_available() or not distributed.is_torchelastic_launched():
        yield 0
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("gloo")
    try:
        yield distributed.get_rank()
    finally:
        distributed.destroy_process_group()


def share(items: Sequence[int]) -> tuple[int, ...]:
    """Every n-th of the items, for this one of n ranks; all of them without a process group."""
    if not _grouped():
        return tuple(items)
    return tuple(items[distributed.get_rank() :: distributed.get_world_size()])


def gather(values: torch.Tensor) -> torch.Tensor:
    """(ranks, ...): the `values` (...), a tensor on the CPU, of each rank in turn; one row without a process group.

    Every rank must call it, with the same shape and type, and is given the same.
    """
    if not _grouped():
        return values[None]
    found = [torch.empty_like(values) for _ in range(distributed.get_world_size())]
    distributed.all_gather(found, values.contiguous())
    return torch.stack(found)


def _grouped() -> bool:
    return distributed.is_available() and distributed.is_initialized()
