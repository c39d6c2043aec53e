"""Tiny pipelines in folders, and the command as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from deepcadence.cli._app import app
from tests import tiny

Invoke = Callable[..., Result]


@pytest.fixture(scope="session")
def ddim_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unconditional DDIM pipeline with random weights, 16x16."""
    folder = tmp_path_factory.mktemp("models") / "ddim"
    tiny.ddim_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Run the command in this process, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: object) -> Result:
        return CliRunner().invoke(app, [str(word) for word in words])

    return run


@pytest.fixture
def shell(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command in a process of its own."""

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "deepcadence.cli", *map(str, words)],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
            capture_output=True,
            text=True,
            check=False,
        )

    return run
