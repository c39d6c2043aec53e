"""Importing the runtime package loads nothing heavy but torch, and the test that says so is able to fail."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Modules that torch and pydantic do not bring; numpy is left out, as torch loads it where it is installed.
HEAVY = [
    "diffusers",
    "transformers",
    "accelerate",
    "safetensors",
    "optuna",
    "torchmetrics",
    "scipy",
    "pandas",
    "matplotlib",
    "seaborn",
    "PIL",
    "jinja2",
    "rich",
    "typer",
    "deepcadence.probe",
    "deepcadence.search",
    "deepcadence.reports",
    "deepcadence.cli",
]


def heavy_modules_after(statement: str) -> set[str]:
    """Heavy modules that a fresh interpreter holds after a statement."""
    program = f"import sys\n{statement}\nprint(*(set(sys.modules) & set({HEAVY!r})))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    return set(result.stdout.split())


def test_importing_schedules_is_light() -> None:
    assert heavy_modules_after("import deepcadence.schedules") == set()


def test_using_a_schedule_is_light() -> None:
    use = "from deepcadence.schedules import *; Schedule.loads(nonuniform(20, 3, 1, 5, 1.4).dumps()); json_schema()"
    assert heavy_modules_after(use) <= {"rich"}  # pydantic may ask for it


@pytest.mark.parametrize("name", ["optuna", "diffusers"])
def test_a_heavy_import_is_seen(name: str) -> None:
    assert name in heavy_modules_after(f"import deepcadence.schedules, {name}")
