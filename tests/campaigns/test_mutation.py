"""The campaign of mutants, at a small size: mutmut itself on a few of one file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from campaigns.mutation import share

ROOT = Path(__file__).parents[2]
TESTS = """
from deepcadence.schedules.generators import uniform

def test_uniform():
    assert uniform(6, 3, 0).calls == ("full", 0, 0, "full", 0, 0)
"""


def test_share_by_the_formula_of_wilson() -> None:
    assert share(8, 10) == pytest.approx((0.8, 0.4902, 0.9433), abs=1e-4)  # Newcombe (1998), by hand
    assert share(10, 10)[2] == pytest.approx(1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="mutmut forks")
def test_a_few_mutants(tmp_path: Path) -> None:
    for name in ("schedules", "benchmarks", "campaigns", "docs"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_one.py").write_text(TESTS)
    words = ["--files", "generators.py", "--tests", "tests/test_one.py", "--sample", "10", "--workers", "1"]
    command = [sys.executable, "-m", "campaigns.mutation", *words, "--out", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    result = json.loads((tmp_path / "out.json").read_text())
    assert done.returncode == 1, done.stderr  # one test notices less than four in five
    assert result["tried"] == 10
    assert result["mutants"] > 200
    assert result["counts"]["killed"] >= 1
    unreached = [each for each in result["survivors"] if each["status"] == "no tests"]
    assert unreached
    assert all("\n-" in each["diff"] for each in unreached)
    assert sum(result["counts"].values()) == 10
    assert f"`{unreached[0]['name']}` (no tests)" in (tmp_path / "out.md").read_text()
