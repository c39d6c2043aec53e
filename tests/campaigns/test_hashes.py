"""Hashes of constraints.txt: what pip took is compared and recorded, and every pin has one."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from campaigns import hashes
from campaigns.hashes import pins, recorded, taken

CONSTRAINTS = f"# x==0\nJinja2==3.1\nimportlib_metadata==1\n    # importlib_metadata-1.whl sha256:{'a' * 64}\n"


def installed(name: str, file: str, digit: str) -> dict[str, Any]:
    """An entry of a report of pip."""
    info = {"url": f"file:///index/{file}", "archive_info": {"hashes": {"sha256": digit * 64}}}
    return {"download_info": info, "metadata": {"name": name, "version": "1"}}


EDITABLE = {"download_info": {"url": "file:///here", "dir_info": {}}, "metadata": {"name": "deepcadence"}}


def test_pins_and_files() -> None:
    assert pins(CONSTRAINTS) == ["jinja2", "importlib-metadata"]
    assert recorded(CONSTRAINTS) == {"importlib_metadata-1.whl": "a" * 64}
    report = json.dumps({"install": [installed("Jinja2", "jinja2-3.1%2Bcpu.whl", "b"), EDITABLE]})
    assert taken(report) == [("jinja2", "jinja2-3.1+cpu.whl", "b" * 64)]


def test_every_pin_has_a_file() -> None:
    lines = Path("constraints.txt").read_text(encoding="utf-8").splitlines()
    packages = [line for line in lines if not line.startswith("#") and not line.startswith("    # ")]
    assert len(pins("\n".join(lines))) == len(packages)
    followers = [after for line, after in zip(lines, [*lines[1:], ""], strict=True) if line in packages]
    assert not [line for line in followers if not recorded(line)]


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, *entries: dict[str, Any]) -> object:
    """`--record` of a report in `folder`; its exit code."""
    (folder / "report.json").write_text(json.dumps({"install": entries}))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["hashes", "report.json", "--record"])
    with pytest.raises(SystemExit) as end:
        hashes.main()
    return end.value.code


def test_new_files_are_recorded_below_their_pins_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "constraints.txt"
    file.write_text(CONSTRAINTS)
    entries = installed("jinja2", "jinja2-3.1.whl", "b"), installed("other", "other-1.whl", "c")
    assert not run(tmp_path, monkeypatch, *entries)
    expected = CONSTRAINTS.replace("Jinja2==3.1\n", f"Jinja2==3.1\n    # jinja2-3.1.whl sha256:{'b' * 64}\n")
    assert file.read_text() == expected
    assert not run(tmp_path, monkeypatch, *entries)
    assert file.read_text() == expected


def test_another_file_of_the_same_name_is_no_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "constraints.txt"
    file.write_text(CONSTRAINTS)
    entries = installed("importlib-metadata", "importlib_metadata-1.whl", "b"), installed("jinja2", "j.whl", "b")
    assert run(tmp_path, monkeypatch, *entries) == 1
    assert file.read_text() == CONSTRAINTS
    assert f"importlib_metadata-1.whl: found sha256 {'b' * 64}, expected {'a' * 64}" in capsys.readouterr().err
