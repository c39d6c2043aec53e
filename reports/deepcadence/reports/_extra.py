"""Says which extra to install when something that the reports need is missing. Imported first."""

from __future__ import annotations

from importlib.util import find_spec

from deepcadence.schedules import MissingExtraError

_NEEDED = {"jinja2": "jinja2", "matplotlib": "matplotlib", "seaborn": "seaborn", "PIL": "pillow"}


def check() -> None:
    """Raise `MissingExtraError` that names what is missing and the command to type."""
    missing = [package for module, package in _NEEDED.items() if find_spec(module) is None]
    if missing:
        raise MissingExtraError(
            f"deepcadence.reports needs {', '.join(missing)}; install with: pip install 'deepcadence[reports]'"
        )


check()
