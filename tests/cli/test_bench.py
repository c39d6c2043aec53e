from __future__ import annotations

import json
from pathlib import Path

import pytest

from deepcadence.schedules import uniform
from tests.cli.conftest import Invoke

FEW = ("--schedule", "schedule.json", "--rounds", 2, "--device", "cpu")


@pytest.fixture
def schedule(tmp_path: Path) -> Path:
    path = tmp_path / "schedule.json"
    uniform(6, 2, 0).save(path)
    return path


@pytest.mark.usefixtures("schedule")
def test_a_row_for_each_kind(invoke: Invoke, ddim_folder: Path) -> None:
    result = invoke("bench", ddim_folder, *FEW)
    assert result.exit_code == 0, result.stderr
    assert "A run of 6 steps, 1 sample, with schedule.json" in result.stdout
    assert "plain" in result.stdout
    assert "cached" in result.stdout
    assert "1.00x" in result.stdout
    assert "timing: 4/4" in result.stderr
    assert "--compile" in result.stderr


@pytest.mark.usefixtures("schedule")
def test_for_scripts(invoke: Invoke, ddim_folder: Path) -> None:
    result = invoke("bench", ddim_folder, *FEW, "--batch-size", 2, "--json", "--quiet")
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    record = json.loads(result.stdout)
    assert (record["device"], record["dtype"], record["steps"], record["batch_size"]) == ("cpu", "float32", 6, 2)
    plain, cached = record["rows"]
    assert (plain["name"], cached["name"]) == ("plain", "cached")
    assert len(plain["seconds"]) == len(cached["seconds"]) == 2
    assert cached["mac_speedup"] > 1.0
    assert cached["time_over_macs"] == pytest.approx(cached["speedup"] / cached["mac_speedup"])
    assert cached["bytes_held"] > 0


@pytest.mark.usefixtures("schedule")
def test_compiled_as_well(invoke: Invoke, ddim_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.compile", lambda module: module)  # what it does is tested with the library
    result = invoke("bench", ddim_folder, *FEW, "--compile", "--json")
    assert result.exit_code == 0, result.stderr
    names = [row["name"] for row in json.loads(result.stdout)["rows"]]
    assert names == ["plain", "cached", "compiled", "compiled and cached"]
    assert "takes minutes" in result.stderr


@pytest.mark.usefixtures("schedule")
def test_steps_that_do_not_fit(invoke: Invoke, ddim_folder: Path) -> None:
    result = invoke("bench", ddim_folder, *FEW, "--steps", 5)
    assert result.exit_code == 1
    assert "found 6 calls, expected 5" in result.stderr
