"""Two processes that share a profile, or the images of a distribution metric, find what one does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from deepcadence.probe import Profile
from tests.cli.conftest import Invoke
from tests.cli.ranks import METRICS, values

ROOT = Path(__file__).parents[2]
PROBE = ("--steps", "3", "--seeds", "3", "--batch-size", "1", "--cut", "0", "--cut", "2", "--device", "cpu", "--json")


def torchrun(folder: Path, *words: object) -> str:
    """What two ranks print, without what Gloo of torch 2.9 prints itself; they run in `folder`."""
    roots = [str(ROOT), *(str(ROOT / name) for name in ("schedules", "probe", "search", "reports"))]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *map(str, words)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*roots, os.environ.get("PYTHONPATH", "")])}
        | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return "".join(line for line in done.stdout.splitlines(keepends=True) if not line.startswith("[Gloo]"))


def test_two_ranks_make_the_profile_of_one(invoke: Invoke, ddim_folder: Path, tmp_path: Path) -> None:
    assert invoke("probe", ddim_folder, *PROBE, "-o", "one.safetensors").exit_code == 0
    printed = torchrun(tmp_path, "-m", "deepcadence.cli", "probe", ddim_folder, *PROBE, "-o", "two.safetensors")
    assert json.loads(printed)["samples"] == 3  # printed once
    one, two = (Profile.load(tmp_path / f"{name}.safetensors") for name in ("one", "two"))
    assert one.meta.setup.command != two.meta.setup.command
    assert two.meta.model_copy(update={"created": one.meta.created, "setup": one.meta.setup}) == one.meta
    for name in ("cosine", "relative_l2", "relative_l1", "output_error"):
        for suffix in ("", "_std"):
            a, b = getattr(one, name + suffix), getattr(two, name + suffix)
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6, equal_nan=True)
    assert (one.output_error_std[:, 0, 1] > 0).all()  # of two samples, each on a rank of its own


def test_two_ranks_find_the_distance_of_one(tmp_path: Path) -> None:
    torchrun(tmp_path, "-m", "tests.cli.ranks")
    one = values()
    for rank in (0, 1):
        two = json.loads((tmp_path / f"{rank}.json").read_text())
        for name in METRICS:
            assert two[name] == pytest.approx(one[name], rel=1e-4)
    assert "found [20, 0] real and [20, 20]" in (tmp_path / "error.txt").read_text()
