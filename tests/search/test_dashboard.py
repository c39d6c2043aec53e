"""optuna-dashboard on a study of ours: it starts, and shows the trials with their attributes."""

from __future__ import annotations

import importlib.util
import io
import json
import math
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from deepcadence.probe import Workload
from deepcadence.search import StudyResult, run_study
from tests.conftest import missing

START = "from optuna_dashboard._cli import main; main()"
SECONDS = 120


@pytest.fixture(scope="module")
def study(workload: Workload, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StudyResult]:
    """A small study in an SQLite file."""
    if importlib.util.find_spec("optuna_dashboard") is None:
        missing("optuna-dashboard", "pip install optuna-dashboard")
    path = tmp_path_factory.mktemp("dashboard") / "study.db"
    result = run_study(
        workload,
        storage=path,
        trials=2,
        max_uniform=1,
        max_published=1,
        fewer_steps=(3,),
        cuts=(0,),
        pictures=path.parent / "pictures",
    )
    return path, result


@pytest.fixture(scope="module")
def dashboard(study: tuple[Path, StudyResult]) -> Iterator[str]:
    """Address of a dashboard on it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-P", "-c", START, f"sqlite:///{study[0]}", "--host", "127.0.0.1", "--port", str(port)]
    words += ["--artifact-dir", str(study[0].parent / "pictures")]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait(address, process)
        yield address
    finally:
        process.terminate()
        process.communicate(timeout=SECONDS)


def test_it_starts_and_lists_the_study(dashboard: str) -> None:
    with urllib.request.urlopen(f"{dashboard}/dashboard/") as page:  # noqa: S310 - our own server
        assert "<title>" in page.read().decode()
    (listed,) = _get(f"{dashboard}/api/studies")["study_summaries"]
    assert listed["study_name"] == "deepcadence"
    assert listed["directions"] == ["maximize", "minimize"]


def test_trials_carry_what_the_guide_names(dashboard: str, study: tuple[Path, StudyResult]) -> None:
    (listed,) = _get(f"{dashboard}/api/studies")["study_summaries"]
    trials = _get(f"{dashboard}/api/studies/{listed['study_id']}")["trials"]
    shown = {trial["number"]: trial for trial in trials if trial["state"] == "Complete"}
    assert set(shown) == {trial.number for trial in study[1].trials}
    for expected in study[1].trials:
        attributes = {entry["key"]: json.loads(entry["value"]) for entry in shown[expected.number]["user_attrs"]}
        assert attributes["worker"]["pid"] > 0
        assert attributes["record"]["label"] == expected.label
        for name in ("origin", "calls", "cut", "steps", "psnr", "ssim", "speedup", "psnr_samples", "ssim_samples"):
            assert name in attributes["record"]
    searched = next(trial for trial in study[1].trials if trial.origin == "nonuniform")
    names = {parameter["name"] for parameter in shown[searched.number]["params"]}
    assert names == {"interval", "cut", "center", "power", "order"} | ({"alpha"} if searched.order else set())


def test_trials_that_were_run_show_a_picture_of_their_images(
    dashboard: str, study: tuple[Path, StudyResult], workload: Workload
) -> None:
    (listed,) = _get(f"{dashboard}/api/studies")["study_summaries"]
    trials = _get(f"{dashboard}/api/studies/{listed['study_id']}")["trials"]
    shown = {trial["number"]: trial["artifacts"] for trial in trials if trial["state"] == "Complete"}
    assert {number for number, found in shown.items() if found} == {
        trial.number for trial in study[1].trials if trial.reused_from is None
    }
    (first, *others) = (trial for trial in trials if trial["artifacts"])
    (picture,) = first["artifacts"]
    assert others
    assert picture["filename"] == f"trial-{first['number']}.png"
    address = f"{dashboard}/artifacts/{listed['study_id']}/{first['trial_id']}/{picture['artifact_id']}"
    with urllib.request.urlopen(address) as answer:  # noqa: S310 - our own server
        image = Image.open(io.BytesIO(answer.read()))
    side = workload.trace().sample_shape[-1]
    columns = math.ceil(len(workload.seeds) ** 0.5)
    assert image.size == (columns * side, math.ceil(len(workload.seeds) / columns) * side)


def _wait(address: str, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        try:
            _get(f"{address}/api/meta")
        except (urllib.error.URLError, ConnectionError):
            if process.poll() is not None:
                pytest.fail(f"optuna-dashboard ended: {process.communicate()[0]}")
            time.sleep(0.2)
        else:
            return
    pytest.fail(f"optuna-dashboard did not answer within {SECONDS} s")


def _get(address: str) -> Any:
    with urllib.request.urlopen(address) as answer:  # noqa: S310 - our own server
        return json.load(answer)
