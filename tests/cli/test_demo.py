from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from deepcadence.cli.demo import run_demo
from deepcadence.cli.demo_budget import Budget
from deepcadence.cli.outputs import OutputError
from deepcadence.probe import Profile
from deepcadence.schedules import Schedule
from deepcadence.search import HeldOut, SearchError, StudyResult
from tests import tiny

TINY = Budget(
    steps=6,
    batch_size=4,
    profile_seeds=2,
    max_distance=1,
    search_seeds=2,
    trials=2,
    predicted=3,
    uniform=3,
    published=1,
    fewer_steps=(4, 3),
    target_speedup=1.3,
    held_out=4,
    images=4,
    columns=2,
    scale=1,
)
WRITTEN = {
    "profile.safetensors",
    "study.db",
    "schedule.json",
    "schedule.held-out.json",
    "report.html",
    "images",
}


def times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def finished(ddim_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo that was run once."""
    out = tmp_path_factory.mktemp("finished") / "demo"
    run_demo(ddim_folder, out, budget=TINY)
    return out


@pytest.fixture
def demo(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, with the same times of modification."""
    return Path(shutil.copytree(finished, tmp_path / "demo"))


def test_what_the_demo_leaves(finished: Path) -> None:
    assert {path.name for path in finished.iterdir()} == WRITTEN
    assert Profile.load(finished / "profile.safetensors").num_calls == 6
    assert len(StudyResult.from_storage(finished / "study.db").trials) >= 2 + 3 + 2
    held_out = HeldOut.load(finished / "schedule.held-out.json")
    assert held_out.schedule == Schedule.load(finished / "schedule.json")
    assert not set(held_out.seeds) & {0, 1}
    for name in ("with-schedule", "without-schedule"):
        assert Image.open(finished / "images" / f"{name}.png").size == (32, 32)
    assert "</html>" in (finished / "report.html").read_text()


def test_a_second_run_reuses_everything(demo: Path, ddim_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = times(demo)
    run_demo(ddim_folder, demo, budget=TINY)
    assert times(demo) == before
    printed = capsys.readouterr()
    for name in ("profile.safetensors", "schedule.held-out.json", "report.html"):
        assert f"reusing {demo / name}" in printed.err
    for word in ("held-out samples", "PSNR", "SSIM", "95%", "uniform", "no schedule", "report:"):
        assert word in printed.out
    assert HeldOut.load(demo / "schedule.held-out.json").verdict in printed.out


def test_what_is_missing_is_made_again(demo: Path, ddim_folder: Path) -> None:
    before = times(demo)
    (demo / "images" / "with-schedule.png").unlink()
    (demo / "profile.safetensors").write_bytes((demo / "profile.safetensors").read_bytes()[:-1])
    run_demo(ddim_folder, demo, budget=TINY)
    after = times(demo)
    same = {path.name for path, when in after.items() if before[path] == when}
    assert same == {"study.db", "schedule.json", "schedule.held-out.json"}


def test_fresh_starts_over_and_keeps_what_is_not_its_own(demo: Path, ddim_folder: Path) -> None:
    (demo / "mine.txt").write_text("keep me")
    before = times(demo)
    run_demo(ddim_folder, demo, budget=TINY, fresh=True)
    assert {path.name for path, when in times(demo).items() if before.get(path) == when} == {"mine.txt"}


def test_another_model_in_the_same_folder_is_noticed(demo: Path, tmp_path: Path) -> None:
    tiny.ddim_pipeline(seed=5).save_pretrained(tmp_path / "other")
    with pytest.raises(SearchError, match=r"other weights.*--fresh"):
        run_demo(tmp_path / "other", demo, budget=TINY)


def test_files_that_are_not_of_a_demo_are_left_alone(ddim_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("<html>my thesis</html>")
    with pytest.raises(OutputError, match="is not a report"):
        run_demo(ddim_folder, tmp_path, budget=TINY, fresh=True)
    assert (tmp_path / "report.html").read_text() == "<html>my thesis</html>"
