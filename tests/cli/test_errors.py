from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deepcadence.cli import command
from deepcadence.cli.command import error_sentence
from deepcadence.cli.console import stderr
from deepcadence.cli.outputs import Kind, OutputError, check_folder, check_output
from deepcadence.schedules import Schedule, uniform
from tests.cli.conftest import Invoke
from tests.reports import records

Shell = Callable[..., subprocess.CompletedProcess[str]]


def test_a_missing_file_is_one_sentence(invoke: Invoke) -> None:
    result = invoke("schedule", "show", "none.json")
    assert result.exit_code == 1
    assert result.stderr == "error: No such file or directory: none.json\n"


def test_debug_shows_the_traceback(shell: Shell) -> None:
    result = shell("schedule", "show", "none.json", "--debug")
    assert result.returncode == 1
    assert "Traceback" in result.stderr
    assert "FileNotFoundError" in result.stderr


def test_without_debug_there_is_none(shell: Shell) -> None:
    result = shell("schedule", "show", "none.json")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr


def test_a_bug_keeps_its_traceback() -> None:
    assert error_sentence(KeyError("x")) is None
    assert error_sentence(BrokenPipeError(32, "Broken pipe")) is None


def test_out_of_memory_names_the_way_out() -> None:
    import torch

    assert "--batch-size" in (error_sentence(torch.OutOfMemoryError("CUDA out of memory. Tried ...")) or "")


def test_ctrl_c_says_what_is_kept(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(path: object) -> Schedule:
        command.on_interrupt("All of it is kept in [here].")
        raise KeyboardInterrupt

    monkeypatch.setattr(Schedule, "load", interrupted)
    result = invoke("schedule", "show", "s.json")
    assert result.exit_code == 130
    assert result.stderr == "stopped. All of it is kept in [here].\n"


def test_ctrl_c_before_anything_is_kept(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(path: object) -> Schedule:
        raise KeyboardInterrupt

    monkeypatch.setattr(Schedule, "load", interrupted)
    assert invoke("schedule", "show", "s.json").stderr == "stopped. Nothing was written.\n"


def test_markup_in_an_error_is_text(invoke: Invoke) -> None:
    result = invoke("schedule", "show", "[red]none.json")
    assert result.stderr == "error: No such file or directory: [red]none.json\n"


def test_a_missing_extra_is_one_sentence() -> None:
    code = "import sys; sys.modules['typer'] = None; from deepcadence.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "error: the deepcadence command needs the package typer; type: pip install 'deepcadence[all]'\n"
    )


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert stderr().no_color


def test_outputs_are_checked_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a folder: give the name of a profile"):
        check_output(tmp_path, Kind.profile)
    (tmp_path / "file").write_text("text")
    for kind in Kind:
        with pytest.raises(OutputError, match=f"exists and is not a {kind}"):
            check_output(tmp_path / "file", kind)
    with pytest.raises(OutputError, match="cannot make the folder"):
        check_output(tmp_path / "file" / "schedule.json", Kind.schedule)
    assert check_folder(tmp_path / "new" / "folder").is_dir()
    (tmp_path / "empty").touch()
    check_output(tmp_path / "empty", Kind.report)


@pytest.mark.skipif(sys.platform == "win32", reason="makes a pipe")
def test_a_device_is_no_output(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for kind in Kind:
        for path in (tmp_path / "pipe", Path("/dev/null")):
            with pytest.raises(OutputError, match="is a device or a pipe, not a file: give the name of a"):
                check_output(path, kind)


def test_only_what_was_written_by_a_command_is_replaced(invoke: Invoke, tmp_path: Path) -> None:
    uniform(10, 5, 1).save(tmp_path / "s.json")
    records.held_out().save(tmp_path / "held-out.json")
    records.profile(prompts=("a, b",)).save(tmp_path / "p.safetensors")
    assert invoke("report", "--schedule", "s.json", "-o", "r.html").exit_code == 0
    ours = {
        "s.json": Kind.schedule,
        "held-out.json": Kind.schedule,
        "p.safetensors": Kind.profile,
        "r.html": Kind.report,
    }
    for target in (Kind.deepcache, Kind.cache_dit, Kind.smoothcache):
        name = target.name.replace("_", "-")
        assert invoke("schedule", "export", "s.json", "--to", name, "-o", f"{name}.json").exit_code == 0
        ours[f"{name}.json"] = target
    for name, own in ours.items():
        for kind in Kind:
            if kind is own:
                check_output(tmp_path / name, kind)
                continue
            with pytest.raises(OutputError, match=f"exists and is not a {kind}"):
                check_output(tmp_path / name, kind)


@pytest.mark.parametrize("kind", Kind)
def test_a_note_that_mentions_our_formats_is_left_alone(tmp_path: Path, kind: Kind) -> None:
    words = ('"format": "deepcadence/schedule"', '\\"format\\":\\"deepcadence/profile\\"', '"attn1": [1]',
             '"cache_branch_id": 0', '"steps_computation_mask": [1]', '<meta name="generator" content="deepcadence 1">',
             "# deepcadence")  # fmt: skip
    (tmp_path / "note.txt").write_text("A note on deepcadence:\n" + "\n".join(words))
    with pytest.raises(OutputError, match=f"exists and is not a {kind}"):
        check_output(tmp_path / "note.txt", kind)


def _heed_sigint() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_ctrl_c_in_the_middle_of_the_work(ddim_folder: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "deepcadence.cli", "probe", str(ddim_folder), "--steps", "900", "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    # A test run in the background ignores SIGINT, and its children with it.
    process = subprocess.Popen(
        words,
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_heed_sigint,  # noqa: PLW1509
    )
    assert process.stderr is not None
    lines, signaled = [], False
    for line in process.stderr:
        lines.append(line)
        if line.startswith("probe: ") and not signaled:
            process.send_signal(signal.SIGINT)
            signaled = True
    assert process.wait() == 130
    assert lines[-1] == "stopped. No profile was written; the same command starts over.\n"
    assert not (tmp_path / "profile.safetensors").exists()
