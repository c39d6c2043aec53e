"""What a report was written with."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = ("deepcadence", "torch", "diffusers", "transformers", "optuna", "torchmetrics")


def versions(packages: Iterable[str] = _PACKAGES) -> dict[str, str]:
    """Name -> version of Python and of those `packages` that are installed."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
