"""The bundled model: a small unconditional diffusion model of 32x32 Fashion-MNIST."""

from __future__ import annotations

from pathlib import Path

__all__ = ["path"]


def path() -> Path:
    """The folder of the bundled `DDIMPipeline`, inside the installed package."""
    return Path(__file__).parent / "model"
