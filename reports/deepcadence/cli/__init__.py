"""The `deepcadence` command.

Each command is a few lines of the Python API: `deepcadence.probe`, `deepcadence.search` and
`deepcadence.reports`, which serve custom pipelines as well.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the `deepcadence` command on the arguments of this process, and exit with its code."""
    try:
        from deepcadence.cli._app import app
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich"):
            raise
        sys.exit(f"error: the deepcadence command needs the package {error.name}; type: pip install 'deepcadence[all]'")
    app(prog_name="deepcadence")
