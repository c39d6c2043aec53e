"""Refresh `schedule.schema.json`: `python -m deepcadence.schedules.write_schema`."""

from __future__ import annotations

from deepcadence.schedules.files import write_atomically
from deepcadence.schedules.schema import SCHEMA_PATH, schema_text

__all__ = ["main"]


def main() -> None:
    """Write the JSON Schema next to the package's modules, silently."""
    write_atomically(SCHEMA_PATH, schema_text())


if __name__ == "__main__":
    main()
