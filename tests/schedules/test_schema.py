"""The published JSON Schema is what the model gives, and says what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from deepcadence.schedules import Schedule, ScheduleError, json_schema, write_schema
from deepcadence.schedules.schema import SCHEMA_PATH, schema_text


def test_the_shipped_schema_is_fresh() -> None:
    text = SCHEMA_PATH.read_text(encoding="utf-8")
    assert text == schema_text(), "refresh it: python -m deepcadence.schedules.write_schema"
    assert json.loads(text) == json_schema()


def test_write_schema_writes_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "schema.json"
    monkeypatch.setattr(write_schema, "SCHEMA_PATH", path)
    write_schema.main()
    assert path.read_text(encoding="utf-8") == SCHEMA_PATH.read_text(encoding="utf-8")


def test_the_schema_names_what_the_file_names() -> None:
    schema = json_schema()
    assert schema["required"] == ["calls", "format", "version"]
    assert schema["additionalProperties"] is False
    assert set(schema["$defs"]["ModelInfo"]["properties"]) == {"class", "config_sha256", "cuts"}
    assert schema["properties"]["calls"]["prefixItems"] == [{"const": "full"}]


def test_the_schema_and_the_code_agree_on_cut_keys() -> None:
    (pattern,) = json_schema()["$defs"]["ModelInfo"]["properties"]["cuts"]["patternProperties"]
    for key in ("0", "7", "9999", "", "00", "-1", "10000", "1.0", " 1", "x"):
        data = {"format": "deepcadence/schedule", "version": 1, "calls": ["full"]}
        text = json.dumps(data | {"model": {"class": "x", "cuts": {key: "up"}}})
        if re.search(pattern, key):
            Schedule.loads(text)
        else:
            with pytest.raises(ScheduleError, match="expected a cut as the key"):
                Schedule.loads(text)
