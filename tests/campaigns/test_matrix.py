"""The matrix of versions: what is run for each environment, and what is said of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from campaigns import matrix


@pytest.mark.parametrize(
    ("fails_at", "outcome"),
    [
        ("find", "skipped: no Python 3.12 on this machine"),
        ("venv", "cannot be installed"),
        ("lowest-direct", "cannot be installed"),
        ("--group", "cannot be installed"),
        ("pytest", "failed"),
        ("nothing", "passed"),
    ],
)
def test_outcomes(fails_at: str, outcome: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, ...]] = []

    def run(*words: str, **_: str) -> int:
        ran.append(words)
        return int(fails_at in words)

    monkeypatch.setattr(matrix, "_run", run)
    monkeypatch.setattr(matrix, "_versions", lambda _: {"torch": "2.5.0"})
    row = matrix.try_out("3.12", "oldest", ["tests/schedules"])
    assert row["outcome"] == outcome
    assert fails_at in ran[-1] or outcome == "passed"
    assert row["torch"] == ("2.5.0" if outcome in ("passed", "failed") else None)


def test_what_passed_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[tuple[str, str]] = []

    def try_out(python: str, end: str, _: object) -> dict[str, object]:
        tried.append((python, end))
        outcome = "failed" if len(tried) == 1 else "passed"
        return {**dict.fromkeys(matrix.COLUMNS), "python": python, "end": end, "outcome": outcome}

    monkeypatch.setattr(matrix, "try_out", try_out)
    out = str(tmp_path / "matrix")
    monkeypatch.setattr("sys.argv", ["matrix", "--pythons", "3.11", "--tests", "tests/schedules", "--out", out])
    for code in (True, False):
        with pytest.raises(SystemExit) as caught:
            matrix.main()
        assert caught.value.code is code
    assert tried == [("3.11", "oldest"), ("3.11", "newest"), ("3.11", "oldest")]
    assert len(json.loads((tmp_path / "matrix.json").read_text())["rows"]) == 2
