"""Text of strangers on the terminal: it is printed as it is written, and controls nothing."""

from __future__ import annotations

import json
import shutil
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from deepcadence.cli import progress as cli_progress
from deepcadence.cli.console import note, print_json, stdout, styled
from deepcadence.cli.held_out import comparison_table
from deepcadence.cli.search import _tell
from deepcadence.schedules import uniform
from deepcadence.search import HeldOut
from tests.cli.conftest import Invoke
from tests.reports import records

MARKUP = "[/x][link=http://x]y[/link][bold]:smile:"
HOSTILE = f"{MARKUP}\x1b[31m\x1b]0;t\x07\x9b2J\u202e\x00"
NAME = "m[/x][bold]\x1b[31m\x9b2J\u202e"
"""What a folder can be called; to a system of files it is one in another."""


def check(output: str) -> None:
    """Raise if a character would control a terminal, or if markup was taken for markup."""
    assert [each for each in output if not each.isprintable() and each != "\n"] == []


def held_out() -> HeldOut:
    """A comparison whose labels are hostile, as they can be in one that was not read from a file."""
    found = records.held_out()
    rows = {name: getattr(found, name) for name in ("chosen", "uniform", "fewer_steps")}
    return found.model_copy(
        update={name: row.model_copy(update={"label": f"{HOSTILE}\n{name}"}) for name, row in rows.items() if row}
    )


@pytest.mark.parametrize("as_json", [True, False])
def test_a_comparison(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, as_json: bool) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    _tell(held_out(), Path(NAME), [Path(NAME) / "a.json"], as_json)
    captured = capsys.readouterr()
    check(captured.out + captured.err)
    assert captured.out.count(MARKUP) >= 3
    if as_json:
        assert json.loads(captured.out)["chosen"]["label"] == f"{HOSTILE}\nchosen"


def test_a_table_its_title_and_its_cells(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    table = comparison_table(held_out())
    table.title = HOSTILE
    table.add_row(*[HOSTILE] * 6)
    stdout().print(table)
    stdout().print(HOSTILE)
    stdout().print(styled(HOSTILE, "bold red", HOSTILE))
    note(HOSTILE)
    captured = capsys.readouterr()
    check(captured.out + captured.err)
    assert captured.out.count(MARKUP) == 3 + 1 + 6 + 1 + 2
    assert "[30.30, 31.68]" in captured.out


def test_a_long_label_is_cut_in_the_table() -> None:
    found = records.held_out(label="a b" * 100_000)
    console = Console(file=StringIO(), width=80, record=True)
    console.print(comparison_table(found))
    assert len(console.export_text()) < 3_000


def test_bars_and_spinners(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = StringIO()

    def terminal() -> Console:
        return Console(file=stream, force_terminal=True, width=200, color_system=None)

    monkeypatch.setattr(cli_progress, "stderr", terminal)
    with cli_progress.busy(HOSTILE):
        pass
    with cli_progress.progress() as report:
        report(HOSTILE, 0, 2)
        report(HOSTILE, 2, 2)
    written = stream.getvalue()
    assert written.count(MARKUP) >= 2
    for control in ("\x1b[31m", "\x1b]", "\x07", "\x9b", "\u202e", "\x00"):
        assert control not in written


def test_json_keeps_what_it_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({HOSTILE: [HOSTILE, "Grüße 猫", "\U000e0041", "\ud800"]})
    output = capsys.readouterr().out
    check(output)
    assert "Grüße 猫" in output
    assert json.loads(output) == {HOSTILE: [HOSTILE, "Grüße 猫", "\U000e0041", "\ud800"]}


def hostile_schedule(path: Path) -> None:
    """A file with markup in every text that it may hold."""
    record: dict[str, Any] = json.loads(records.schedule().dumps())
    record["generator"] = {"name": MARKUP}
    record["created"]["by"] = MARKUP
    record["model"]["class"] = MARKUP
    record["sampler"]["class"] = MARKUP
    quality = {"metric": MARKUP, "unit": MARKUP, "value": 1.0, "samples": 4, "seeds": "held-out", "reference": MARKUP}
    path.write_text(json.dumps(record | {"quality": [quality]}))


def test_a_schedule_and_its_name(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir(parents=True)
    hostile_schedule(tmp_path / NAME / "s.json")
    name = f"{NAME}/s.json"
    for words in (("show", name), ("show", name, "--json"), ("validate", name), ("validate", name, "--json"),
                  ("resample", name, "--calls", 5, "-o", f"{NAME}/t.json"), ("show", f"{NAME}/none.json"),
                  ("validate", f"{NAME}/none.json"), ("new", "--interval", 5, "-o", f"{NAME}/new.json", "--json"),
                  ("export", name, "--to", "deepcache", "-o", f"{NAME}/e.json"),
                  ("import", name, "--from", "cache-dit", "-o", f"{NAME}/i.json")):  # fmt: skip
        result = invoke("schedule", *words)
        assert result.exception is None or isinstance(result.exception, SystemExit), words
        check(result.stdout + result.stderr)
        assert "[/x]" in result.stdout + result.stderr, words
    assert invoke("schedule", "show", name).stdout.count(MARKUP) == 7
    assert invoke("report", "--schedule", name, "-o", f"{NAME}/r.html").exit_code == 0


def test_a_model_and_a_study(invoke: Invoke, ddim_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(ddim_folder, tmp_path / NAME / "model")
    uniform(2, 2, 0).save(tmp_path / NAME / "s.json")
    model, device = f"{NAME}/model", ("--device", "cpu")
    for words in (("macs", model), ("macs", model, "--json"), ("macs", f"{NAME}/none"), ("doctor", model),
                  ("doctor", model, "--json"), ("generate", model, "--steps", 2, *device, "-o", f"{NAME}/out"),
                  ("bench", model, "--schedule", f"{NAME}/s.json", "--rounds", 1, *device),
                  ("worker", model, "--storage", f"{NAME}/none.db", *device)):  # fmt: skip
        result = invoke(*words)
        assert result.exception is None or isinstance(result.exception, SystemExit), words
        check(result.stdout + result.stderr)
        assert "[/x]" in result.stdout + result.stderr, words
