"""Says which extra to install when something that the search needs is missing. Imported first."""

from __future__ import annotations

from importlib.util import find_spec

from deepcadence.schedules import MissingExtraError

_NEEDED = ("optuna", "scipy", "torchmetrics", "diffusers")


def check() -> None:
    """Raise `MissingExtraError` that names what is missing and the command to type."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"deepcadence.search needs {', '.join(missing)}; install with: pip install 'deepcadence[search]'"
        )


check()
