"""The JSON Schema of schedule files. `schedule.schema.json` next to this module holds it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deepcadence.schedules.schedule import Schedule
from deepcadence.schedules.text import canonical_json

__all__ = ["json_schema"]

SCHEMA_PATH = Path(__file__).with_name("schedule.schema.json")


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of schedule files, as shipped in `schedule.schema.json`.

    A schema cannot say that a call's cut must be among `model.cuts` and `cost.partial_macs`, where those are there,
    nor that an interval has its low end first; `Schedule.loads` checks that as well.
    """
    schema = Schedule.model_json_schema(by_alias=True)
    schema["required"] = ["calls", "format", "version"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema


def schema_text() -> str:
    """Return the text that `schedule.schema.json` must have."""
    return canonical_json(json_schema())
