"""The campaigns, at a small size: the full ones are run by hand."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from campaigns.calibration import draw
from campaigns.fuzz import attempt
from campaigns.readers import copy_folder, light_readers, readers
from deepcadence.schedules import Schedule

ROOT = Path(__file__).parents[2]


def test_hostile_files_are_read_or_refused_by_name(tmp_path: Path) -> None:
    outcomes: dict[str, set[str]] = {}
    chosen = readers(tmp_path)
    for reader in chosen:
        path = copy_folder(reader, tmp_path / "inputs" / reader.name.replace("/", "-"))
        dice = random.Random(f"1:{reader.name}")  # noqa: S311 - no secrets
        for _ in range(3 if reader.name == "config" else min(60, reader.share)):
            data = reader.change(dice.choice(reader.corpus), dice, reader.corpus)
            outcome, message = attempt(reader, data, path, seconds=30)
            assert outcome != "finding", (reader.name, message, data[:200])
            outcomes.setdefault(reader.name, set()).add(outcome)
        outcome, message = attempt(reader, reader.corpus[0], path, seconds=30)
        assert outcome == "read", (reader.name, message)
    often = {reader.name for reader in chosen if reader.share >= 20}
    assert {name for name, found in outcomes.items() if "refused" in found} >= often


def test_what_a_reader_lets_through_is_a_finding(tmp_path: Path) -> None:
    (schedule,) = (each for each in light_readers(tmp_path) if each.name == "schedule")
    data, path = schedule.corpus[0], tmp_path / "input"

    def broken(read: object, again: object = lambda *_: True) -> str:
        reader = type(schedule)(**vars(schedule) | {"read": read, "again": again})
        outcome, message = attempt(reader, data, path, seconds=0.2)
        assert outcome == "finding"
        return message

    def busy(_: Path) -> None:
        while True:
            pass

    assert broken(lambda _: int("x")).startswith("ValueError")
    assert broken(lambda _: Schedule(calls=())).startswith("names no place")
    assert broken(Schedule.load, lambda *_: False) == "read again, it is another"
    assert broken(busy) == "longer than 0.2 s"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_few_power_cuts(tmp_path: Path) -> None:
    roots = [ROOT, *(ROOT / name for name in ("schedules", "probe", "search", "reports"))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if not os.environ.get("DEEPCADENCE_TEST_WHEEL"):
        environment["PYTHONPATH"] = os.pathsep.join([*map(str, roots), os.environ.get("PYTHONPATH", "")])
    words = ["--count", "8", "--only", "schedule new", "generate", "probe", "--out", str(tmp_path / "result")]
    done = subprocess.run(
        [sys.executable, "-m", "campaigns.power_cuts", *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    assert sum(row["commands"] for row in result["rows"]) == 8
    assert result["findings"] == []
    assert not (tmp_path / "result.progress").exists()


def test_intervals_of_draws_hold_what_they_promise() -> None:
    dice = np.random.default_rng(0)
    values = dice.gamma(4.0, 2.0, 400)
    found = [draw(values, 40, dice) for _ in range(60)]
    shares = {kind: sum(each[kind] for each in found) / len(found) for kind in ("holds", "agrees", "inside")}
    assert min(shares["holds"], shares["agrees"]) >= 0.85
    assert shares["inside"] < shares["agrees"]
    narrow = np.full(400, 3.0)
    assert draw(narrow, 40, dice) == {"holds": True, "agrees": True, "inside": True}
