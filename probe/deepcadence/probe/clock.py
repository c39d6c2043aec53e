"""Wall time such that a busy machine cannot turn a comparison around: contenders take turns, ratios are per round."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

__all__ = ["interleaved", "median_ratio", "synchronize", "timed"]

Key = TypeVar("Key")
Result = TypeVar("Result")


def synchronize(device: torch.device) -> None:
    """Wait until the device is done with all work."""
    getattr(torch, device.type).synchronize()


def timed(device: torch.device, run: Callable[[], Result]) -> tuple[float, Result]:
    """Wall seconds of `run()`, work on the device included, and what it returned."""
    synchronize(device)
    began = time.perf_counter()
    result = run()
    synchronize(device)
    return time.perf_counter() - began, result


def interleaved(contenders: Sequence[tuple[Key, Callable[[], float]]], rounds: int) -> dict[Key, list[float]]:
    """Seconds per contender and round: in each round every contender runs once, each time another one first."""
    seconds: dict[Key, list[float]] = {key: [] for key, _ in contenders}
    for number in range(rounds):
        first = number % len(contenders)
        for key, run in [*contenders[first:], *contenders[:first]]:
            seconds[key].append(run())
    return seconds


def median_ratio(seconds: Sequence[float], reference: Sequence[float]) -> float:
    """Median over the rounds of `seconds` over `reference` of the same round."""
    return statistics.median(mine / other for mine, other in zip(seconds, reference, strict=True))
