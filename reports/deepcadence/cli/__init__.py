"""The `deepcadence` command.

Each command is a few lines of the Python API: `deepcadence.probe`, `deepcadence.search` and
`deepcadence.reports`, which serve custom pipelines as well.
"""

from __future__ import annotations

from deepcadence.cli._app import app, main

__all__ = ["app", "main"]
