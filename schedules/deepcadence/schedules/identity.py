"""Fingerprints of models and samplers, so that a schedule is not used with another one by mistake."""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

import torch

from deepcadence.schedules.errors import ScheduleError
from deepcadence.schedules.provenance import ModelInfo, SamplerInfo

__all__ = ["config_sha256", "model_info", "sampler_info"]

_QUANTIZED = "quantization_config"  # an object in the configuration of a model that diffusers has quantized


def config_sha256(config: Mapping[str, Any]) -> str:
    """Return the SHA-256, in hexadecimal, of a configuration as sorted JSON.

    Keys that begin with an underscore are left out: they say which version wrote the configuration, and where it lies.
    So is how weights are quantized, which changes no layer.
    Lists and tuples count as the same, so a configuration has the same hash before and after a trip through a file.

    Raises:
        ScheduleError: a value has no stable text, such as a function.
    """
    public = {str(key): value for key, value in config.items() if not str(key).startswith("_") and key != _QUANTIZED}
    text = json.dumps(_plain(public, "config"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def model_info(model: torch.nn.Module, cuts: Mapping[int, str]) -> ModelInfo:
    """Describe a denoiser: its class, the hash of its `config` (none if it has none), and its cuts.

    `cuts` maps each cut to a dotted layer name. A module made by `torch.compile` is described as the one it wraps.
    """
    model = getattr(model, "_orig_mod", model)
    return ModelInfo(class_name=type(model).__name__, config_sha256=_hash_of(model), cuts=dict(cuts))


def sampler_info(
    scheduler: Any, timesteps: Iterable[float] | torch.Tensor | None = None, steps: int | None = None
) -> SamplerInfo:
    """Describe a diffusers scheduler: its class, hash and spacing of its `config`, and steps and timesteps of a run."""
    values = timesteps.tolist() if isinstance(timesteps, torch.Tensor) else timesteps
    return SamplerInfo(
        class_name=type(scheduler).__name__,
        config_sha256=_hash_of(scheduler),
        timesteps=None if values is None else tuple(_plain_number(value) for value in values),
        steps=steps,
        timestep_spacing=_spacing_of(scheduler),
    )


def _spacing_of(scheduler: Any) -> str | None:
    config = getattr(scheduler, "config", None)
    spacing = config.get("timestep_spacing") if isinstance(config, Mapping) else None
    return spacing if isinstance(spacing, str) else None


def _hash_of(thing: Any) -> str | None:
    config = getattr(thing, "config", None)
    return config_sha256(config) if isinstance(config, Mapping) else None


def _plain_number(value: Any) -> Any:
    """Turn a number of NumPy or torch into Python's."""
    return value.item() if hasattr(value, "item") else value


def _plain(value: Any, place: str) -> Any:
    """Turn a configuration value into JSON data that reads the same on every machine."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry, f"{place}.{key}") for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry, f"{place}[{index}]") for index, entry in enumerate(value)]
    if isinstance(value, set | frozenset):
        return sorted((_plain(entry, place) for entry in value), key=json.dumps)
    if isinstance(value, enum.Enum):
        return _plain(value.value, place)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, torch.dtype | torch.device):
        return str(value)
    if isinstance(value, PurePath):
        return value.as_posix()
    if hasattr(value, "tolist"):
        return _plain(value.tolist(), place)
    raise ScheduleError(
        f"{place}: found a {type(value).__name__}, expected JSON data, which has the same text everywhere"
    )
