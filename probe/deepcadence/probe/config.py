"""Denoisers from their configuration alone: no weights, no memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from deepcadence.probe._extras import require
from deepcadence.probe._meta import build
from deepcadence.probe._source import check_sizes, read_json, resolve
from deepcadence.probe.errors import LoadError
from deepcadence.schedules import UnsupportedModelError
from deepcadence.schedules.fields import shortened

__all__ = ["load_denoiser_config"]

_COMPONENTS = ("unet", "transformer")


def load_denoiser_config(model: str | Path) -> nn.Module:
    """The denoiser that `model` describes, on the meta device; its weights need not exist.

    Args:
        model: a pipeline's folder, the folder of its U-Net or transformer, a folder that holds only a `config.json`,
            such a file itself, a hub id, or "bundled".

    Raises:
        LoadError: there is no config, or none that describes a model.
        UnsupportedModelError: it describes a model class that diffusers does not have.
        MissingExtraError: diffusers is not installed.
    """
    diffusers = require("diffusers")
    place = resolve(model)
    config, where = _from_folder(place) if isinstance(place, Path) else _from_hub(place, diffusers)
    check_sizes(config, where)
    name = config.get("_class_name")
    if not isinstance(name, str):
        raise LoadError(f"{where}: _class_name: found {shortened(repr(name), 200)}, expected the class of a denoiser")
    model_class = getattr(diffusers, name, None)
    if not (isinstance(model_class, type) and issubclass(model_class, diffusers.ModelMixin)):
        raise UnsupportedModelError(
            f"{where}: _class_name: found {shortened(repr(name), 200)}, expected a model class of diffusers"
        )
    try:
        return build(model_class, config)
    except Exception as error:
        raise LoadError(f"{where}: no {name} can be built from this config: {shortened(str(error), 300)}") from error


def _from_folder(place: Path) -> tuple[Mapping[str, Any], str]:
    candidates = [place] if place.is_file() else [place / "config.json"]
    candidates += [place / component / "config.json" for component in _COMPONENTS]
    for path in candidates:
        if path.is_file():
            return read_json(path), str(path)
    names = " or ".join(f"{component}/config.json" for component in _COMPONENTS)
    raise LoadError(f"{place}: found neither config.json nor {names}; expected the folder of a pipeline or a denoiser")


def _from_hub(place: str, diffusers: Any) -> tuple[Mapping[str, Any], str]:
    reasons = []
    for subfolder in (*_COMPONENTS, None):
        try:
            return diffusers.UNet2DModel.load_config(
                place, subfolder=subfolder
            ), f"{place}: {subfolder or 'config.json'}"
        except (OSError, ValueError) as error:
            reasons.append(" ".join(str(error).split())[:300])
    raise LoadError(f"{place}: found no such folder, and no denoiser's config on the hub either ({reasons[0]})")
