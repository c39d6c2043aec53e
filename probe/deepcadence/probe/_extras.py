"""Optional dependencies: imported when needed, and missed with a sentence that says what to type."""

from __future__ import annotations

import importlib
from typing import Any

from deepcadence.schedules import MissingExtraError

__all__ = ["require"]


def require(module: str, extra: str = "probe") -> Any:
    """Import `module`, a dependency that the extra `extra` installs.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        top = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != top:
            raise
        message = f"this needs the package {top}, which is not installed; type: pip install 'deepcadence[{extra}]'"
        raise MissingExtraError(message) from error
