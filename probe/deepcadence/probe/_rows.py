"""Rows of a denoiser's batch: which belong to a sample, picking some, and putting a result back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

__all__ = ["by_sample", "rows_of", "to_rows", "with_tensor"]


def rows_of(value: Any, rows: int, index: torch.Tensor) -> Any:
    """`value` with the rows `index` of each tensor that has `rows` rows; the rest as it is."""
    if isinstance(value, torch.Tensor):
        return value[index.to(value.device)] if value.ndim and len(value) == rows else value
    if isinstance(value, Mapping):
        return {key: rows_of(entry, rows, index) for key, entry in value.items()}
    return value


def by_sample(rows: torch.Tensor, samples: int) -> torch.Tensor:
    """(branches * samples, ...) as (samples, branches * size): guidance stacks whole batches."""
    return rows.reshape(-1, samples, rows[0].numel()).transpose(0, 1).reshape(samples, -1)


def to_rows(flat: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """What `by_sample` gave, in the shape of `like`, (branches * samples, ...)."""
    return flat.reshape(len(flat), -1, like[0].numel()).transpose(0, 1).reshape(like.shape)


def with_tensor(output: Any, tensor: torch.Tensor) -> Any:
    """What a denoiser returned, with `tensor` in place of its first tensor."""
    if isinstance(output, torch.Tensor):
        return tensor
    if isinstance(output, Mapping):  # an output object of diffusers
        return type(output)(**{**output, next(iter(output)): tensor})
    return (tensor, *output[1:])
