"""The matrix of versions: what is run for each environment, and what is said of it."""

from __future__ import annotations

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
