"""The bundled model: a small unconditional diffusion model of 32x32 Fashion-MNIST."""

from __future__ import annotations

import hashlib
from pathlib import Path

from deepcadence.probe.errors import LoadError

__all__ = ["check_weights", "path"]

# `sha256sum` of the weights; `train` makes new ones.
_SHA256 = "3dac52f5916398d82cc9d77ca39e0fbc4e50a7edb72ce1b195f086f120d55f10"


def path() -> Path:
    """The folder of the bundled `DDIMPipeline`, inside the installed package."""
    return Path(__file__).parent / "model"


def check_weights() -> None:
    """Check that the weights are those that the package was published with.

    Raises:
        LoadError: they are others, or missing.
    """
    weights = path() / "unet" / "diffusion_pytorch_model.safetensors"
    found = hashlib.sha256(weights.read_bytes()).hexdigest() if weights.is_file() else "no file"
    if found != _SHA256:
        raise LoadError(
            f"{weights}: found {found}, expected the SHA-256 {_SHA256} of the bundled weights: the installation is "
            "damaged or was changed; install deepcadence again"
        )
