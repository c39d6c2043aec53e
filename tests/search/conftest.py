"""A small workload and a finished study, made once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from deepcadence.probe import Workload
from deepcadence.search import StudyResult, run_study
from deepcadence.search.storage import open_storage
from tests import tiny


@pytest.fixture(scope="session")
def workload() -> Workload:
    """Six DDIM steps of a random 16x16 U-Net, three seeds in two batches."""
    return Workload(tiny.ddim_pipeline(), steps=6, seeds=(0, 1, 2), batch_size=2)


@pytest.fixture(scope="session")
def result(workload: Workload) -> StudyResult:
    """A study in memory: 4 uniform, 1 published, 2 fewer steps, 8 search trials, none predicted."""
    return run_study(workload, trials=8, max_uniform=4, max_published=1, fewer_steps=(4, 2), max_predicted=0)


@pytest.fixture(scope="session")
def _empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("storage") / "empty.db"
    open_storage(path)
    return path


@pytest.fixture
def storage(_empty_database: Path, tmp_path: Path) -> Path:
    """An SQLite file of one's own, its tables made (which takes a while)."""
    return Path(shutil.copy(_empty_database, tmp_path / "study.db"))
