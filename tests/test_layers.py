"""Imports run one way, as pyproject.toml says, and the check that says so is able to fail."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ["schedules", "probe", "search", "reports", "cli"]


def lint_imports(first_on_path: Path) -> subprocess.CompletedProcess[str]:
    program = "import sys; from importlinter.cli import lint_imports_command; sys.argv[0] = 'lint-imports'; "
    return subprocess.run(
        [
            sys.executable,
            "-P",
            "-c",
            program + "lint_imports_command()",
            "--config",
            ROOT / "pyproject.toml",
            "--no-cache",
        ],
        env={**os.environ, "PYTHONPATH": str(first_on_path)},
        cwd=first_on_path,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def miniature(tmp_path: Path) -> Path:
    """A namespace package with the five layers, each of which imports the one below."""
    for below, layer in zip(["", *LAYERS], LAYERS, strict=False):
        package = tmp_path / "deepcadence" / layer
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(f"import deepcadence.{below}\n" if below else "")
    return tmp_path


def test_imports_run_one_way(tmp_path: Path) -> None:
    done = lint_imports(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 kept, 0 broken" in done.stdout


def test_the_layers_as_such_are_accepted(miniature: Path) -> None:
    done = lint_imports(miniature)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("lower", "upper"), list(pairwise(LAYERS)))
def test_an_import_upward_is_found(miniature: Path, lower: str, upper: str) -> None:
    (miniature / "deepcadence" / lower / "wrong.py").write_text(f"from deepcadence import {upper}\n")
    done = lint_imports(miniature)
    assert done.returncode == 1
    assert f"deepcadence.{lower}.wrong -> deepcadence.{upper}" in done.stdout
