"""What the tests reach: sums by part, and the campaign itself on one test."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from campaigns.coverage import below, part_of, summary

ROOT = Path(__file__).parents[2]
TESTS = """
from deepcadence.schedules.generators import uniform

def test_uniform():
    assert uniform(6, 3, 0).calls == ("full", 0, 0, "full", 0, 0)
"""


def file(lines: int, reached: int, branches: int, taken: int) -> dict[str, Any]:
    counts = {"num_statements": lines, "covered_lines": reached, "num_branches": branches, "covered_branches": taken}
    share = 100 * (reached + taken) / (lines + branches)
    return {"summary": {**counts, "percent_covered": share}, "missing_lines": list(range(1, lines - reached + 1))}


def test_sums_by_part() -> None:
    report = {
        "files": {
            "schedules/deepcadence/schedules/one.py": file(80, 80, 20, 20),
            "schedules/deepcadence/schedules/families/two.py": file(20, 18, 5, 3),
            "search/deepcadence/search/three.py": file(10, 10, 0, 0),
        }
    }
    first, second, everything = summary(report)
    assert (first["part"], first["lines"], first["lines_reached"]) == ("schedules", 100, 0.98)
    assert (first["branches"], first["branches_reached"]) == (25, 0.92)
    assert (second["part"], second["lines_reached"], second["branches_reached"]) == ("search", 1, 1)
    assert (everything["part"], everything["lines"], everything["branches"]) == ("all", 110, 25)
    assert below(report) == ["`schedules/deepcadence/schedules/families/two.py`: 84%, not lines 1, 2"]


@pytest.mark.parametrize("folder", ["schedules/", "/venv/site-packages/"])
def test_parts_wherever_the_package_lies(folder: str) -> None:
    assert part_of(f"{folder}deepcadence/schedules/families/two.py") == "schedules"
    assert part_of(f"/home/deepcadence/{folder}deepcadence/cli/main.py") == "cli"


def measured(folder: Path, test: str) -> subprocess.CompletedProcess[str]:
    for name in ("benchmarks", "campaigns"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "tests").mkdir()
    (folder / "tests/test_one.py").write_text(test)
    words = [sys.executable, "-m", "campaigns.coverage", "--workers", "0", "--out", str(folder / "out")]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)


def test_one_test_reaches_little(tmp_path: Path) -> None:
    done = measured(tmp_path, TESTS)
    assert done.returncode == 1, done.stderr
    first = json.loads((tmp_path / "out.json").read_text())["parts"][0]
    assert first["part"] == "schedules"
    assert 0 < first["lines_reached"] < 0.95
    assert "families/unet.py`: " in (tmp_path / "out.md").read_text()


def test_no_figures_of_tests_that_fail(tmp_path: Path) -> None:
    done = measured(tmp_path, "def test_none() -> None:\n    assert False\n")
    assert done.returncode == 1
    assert "1 failed" in done.stdout
    assert not (tmp_path / "out.json").exists()
