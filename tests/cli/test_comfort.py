"""What scripts and terminals rely on: --json, --quiet, exit codes, NO_COLOR, completion, doctor."""

from __future__ import annotations

import json
import logging
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from deepcadence.cli import checkup
from deepcadence.cli.command import error_sentence
from deepcadence.cli.console import is_quiet, note, quietly
from deepcadence.cli.held_out import comparison_record
from deepcadence.probe import LoadError
from deepcadence.schedules import UnsupportedModelError
from tests.cli.conftest import Invoke
from tests.reports import records

Shell = Callable[..., subprocess.CompletedProcess[str]]
COLOR = re.compile(r"\x1b\[[0-9;]*(?<!\d)(?:3|4|9|10)[0-8](?:;|m)")


# ---- --json and --quiet


def test_json_of_the_whole_way(invoke: Invoke, ddim_folder: Path, tmp_path: Path) -> None:
    def run(*words: object) -> Any:
        result = invoke(*words, "--json", "--quiet")
        assert result.exit_code == 0, result.stderr
        assert result.stderr == ""
        return json.loads(result.stdout)

    device = ("--device", "cpu")
    probed = run("probe", ddim_folder, "--steps", 6, "--seeds", 2, "--max-distance", 1, "-o", "p.safetensors", *device)
    assert (probed["profile"], probed["num_calls"], probed["samples"]) == ("p.safetensors", 6, 2)
    assert list(probed["partial_macs"]) == [str(cut) for cut in probed["cuts"]]

    few = ("--trials", 1, "--seeds", 2, "--held-out", 2, "--front", "front", *device)
    found = run("search", ddim_folder, "--profile", "p.safetensors", "--target-speedup", 1.2, *few)
    assert found["chosen"]["speedup"] >= 1.2
    assert found["samples"] == 2
    assert all((tmp_path / found[name]).exists() for name in ("schedule", "held_out"))
    assert sorted(found["front"]) == sorted(str(path.relative_to(tmp_path)) for path in (tmp_path / "front").iterdir())

    made = run("generate", ddim_folder, "--schedule", found["schedule"], "--seed", 3, *device)
    assert made["images"] == [{"seed": 3, "file": "out/seed-3.png"}]
    assert made["run"]["full"] + made["run"]["partial"] == 6
    assert made["run"]["forced"] == []

    assert run("report", "--schedule", found["schedule"], "-o", "r.html") == {"report": "r.html"}
    assert run("macs", ddim_folder)["full_macs"] == probed["full_macs"]


def test_json_of_a_comparison_has_every_contender() -> None:
    held_out = records.held_out()
    assert held_out.uniform is not None
    extrapolated = held_out.uniform.model_copy(update={"label": "uniform 1:3 cut 0 order 1", "order": 1})
    four = comparison_record(held_out.model_copy(update={"uniform_extrapolated": extrapolated}))
    labels = [four[name]["label"] for name in ("chosen", "uniform", "uniform_extrapolated", "fewer_steps")]
    assert labels == [held_out.chosen.label, "uniform 1:3 cut 0", "uniform 1:3 cut 0 order 1", "10 steps"]
    assert comparison_record(held_out)["uniform_extrapolated"] is None


def test_json_of_schedules(invoke: Invoke) -> None:
    new = invoke("schedule", "new", "--calls", 10, "--interval", 5, "--cut", 1, "-o", "s.json", "--json")
    expected = {"file": "s.json", "num_calls": 10, "full": 2, "partial": 8, "full_calls": [0, 5], "cuts": [1]}
    assert json.loads(new.stdout) == expected | {"reuse": {"mode": "hold"}, "speedup": None, "quality": []}
    assert json.loads(invoke("schedule", "show", "s.json", "--json").stdout) == json.loads(new.stdout)
    shorter = json.loads(invoke("schedule", "resample", "s.json", "--calls", 4, "-o", "t.json", "--json").stdout)
    assert (shorter["file"], shorter["num_calls"]) == ("t.json", 4)
    line = json.loads(invoke("schedule", "new", "--interval", 5, "--order", 1, "-o", "u.json", "--json").stdout)
    assert line["reuse"] == {"mode": "extrapolate", "order": 1, "alpha": 1}
    assert "order 1" in invoke("schedule", "show", "u.json").stdout
    checked = invoke("schedule", "validate", "s.json", "none.json", "--json")
    assert checked.exit_code == 1
    assert [found["ok"] for found in json.loads(checked.stdout)] == [True, False]


def test_quiet_keeps_errors(invoke: Invoke) -> None:
    assert invoke("schedule", "new", "--interval", 5, "-o", "s.json", "--quiet").stderr == ""
    result = invoke("schedule", "show", "none.json", "-q")
    assert (result.exit_code, result.stderr) == (1, "error: No such file or directory: none.json\n")


def test_quiet_ends_with_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with quietly(True):
        note("unheard")
        assert is_quiet()
    assert not is_quiet()
    note("heard")
    assert capsys.readouterr().err == "heard\n"


# ---- exit codes


def test_exit_codes_are_those_that_the_help_names(invoke: Invoke, tmp_path: Path) -> None:
    assert invoke("schedule", "new", "--interval", 5, "-o", "s.json").exit_code == 0
    assert invoke("schedule", "show", "none.json").exit_code == 1
    assert invoke("schedule", "new", "--interval", "five", "-o", "s.json").exit_code == 2
    words = " ".join(invoke("--help").stdout.split())
    assert "Exit codes: 0 done, 1 an error" in words


# ---- one sentence


@pytest.mark.parametrize("model", ["none", "./none", "owner/none"])
def test_a_model_that_is_not_found(invoke: Invoke, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: Any, **kwargs: Any) -> Any:
        raise OSError("We couldn't connect to the hub")

    monkeypatch.setattr(diffusers.DiffusionPipeline, "load_config", offline)
    result = invoke("generate", model, "--quiet")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert model in result.stderr
    assert result.stderr.count("\n") == 1


def test_attempts_to_reach_the_hub_are_not_told(invoke: Invoke, ddim_folder: Path) -> None:
    logging.getLogger("huggingface_hub").setLevel(logging.WARNING)
    assert invoke("macs", ddim_folder).exit_code == 0
    assert not logging.getLogger("huggingface_hub.utils._http").isEnabledFor(logging.WARNING)


def test_an_empty_prompt_file(invoke: Invoke, sd_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n \n")
    result = invoke("generate", sd_folder, "--prompts", "empty.txt", "--quiet")
    assert result.exit_code == 1
    assert result.stderr == "error: empty.txt: found no prompt, expected one a line\n"


def test_a_text_to_image_model_without_prompts(invoke: Invoke, sd_folder: Path) -> None:
    result = invoke("generate", sd_folder, "--quiet", "--device", "cpu")
    assert result.exit_code == 1
    sentence = f"{sd_folder} makes images from text: give it prompts with --prompts FILE, one a line"
    assert result.stderr == f"error: {sentence}; a search takes those of its profile\n"


def test_out_of_memory_is_found_behind_other_errors(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    wrapped = UnsupportedModelError("self-test failed")
    wrapped.__cause__ = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore")
    cpu = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")
    for error in (wrapped, cpu, MemoryError(), RuntimeError("MPS backend out of memory")):
        sentence = error_sentence(error) or ""
        assert sentence.startswith("the device ran out of memory: try a smaller --batch-size")
        assert "\n" not in sentence
    assert error_sentence(LoadError("not there")) == "not there"
    assert error_sentence(RuntimeError("a bug")) is None


# ---- color


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize("words", [("--help",), ("schedule", "show", "none.json")])
def test_no_color_on_a_terminal(tmp_path: Path, words: tuple[str, ...], wanted: bool) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")}
    environment |= {"TERM": "xterm-256color"} | ({} if wanted else {"NO_COLOR": "1"})
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "deepcadence.cli", *words],
        env=environment, cwd=tmp_path, stdout=slave, stderr=slave, stdin=slave,
    )  # fmt: skip
    os.close(slave)
    shown = b""
    while True:
        try:
            chunk = os.read(master, 4096)
        except OSError:  # the other end is closed
            break
        if not chunk:
            break
        shown += chunk
    os.close(master)
    process.wait()
    assert bool(COLOR.search(shown.decode())) is wanted


# ---- completion


def test_completion_knows_commands_and_options(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_DEEPCADENCE_COMPLETE", "complete_bash")
    for words, expected in (("deepcadence sch", "schedule"), ("deepcadence schedule new --int", "--interval")):
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
        assert expected in shell().stdout.split()


def test_completion_can_be_installed(tmp_path: Path) -> None:
    command = f"{sys.executable} -m deepcadence.cli --install-completion; exit $?"
    done = subprocess.run(
        ["bash", "--norc", "-c", command],
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (script,) = tmp_path.glob(".bash_completions/deepcadence.sh")
    assert "_DEEPCADENCE_COMPLETE=complete_bash" in script.read_text()
    assert str(script) in (tmp_path / ".bashrc").read_text()


def test_the_module_runs_as_the_command(shell: Shell) -> None:
    assert shell("--version").stdout.startswith("deepcadence ")


# ---- doctor


def test_doctor_finds_everything_well(invoke: Invoke, ddim_folder: Path) -> None:
    result = invoke("doctor", ddim_folder)
    assert result.exit_code == 0, result.stdout
    for word in ("python", "torch", "memory", "cpu", "family unet, 6 cuts: the split network agrees"):
        assert word in result.stdout


def test_doctor_as_json(invoke: Invoke, ddim_folder: Path) -> None:
    record = json.loads(invoke("doctor", ddim_folder, "--json", "-q").stdout)
    assert record["ok"]
    assert {finding["part"] for finding in record["findings"]} == {"system", "package", "device", "model"}
    assert {finding["state"] for finding in record["findings"]} <= {"ok", "note"}


def test_doctor_says_what_does_not_fit(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["torch>=99.1", "nonesuch>=1; extra == 'search'", "nowhere", "pydantic>=2.8", "deepcadence[x]"]
    versions = metadata.version
    monkeypatch.setattr(metadata, "requires", lambda name: lines)
    monkeypatch.setattr(metadata, "version", lambda name: "0.1" if name == "deepcadence" else versions(name))
    found = {finding.name: finding for finding in checkup.packages()}
    assert found["torch"].state == found["nowhere"].state == "bad"
    assert "expected at least 99.1" in found["torch"].found
    assert found["nonesuch"].state == "note"
    assert "pip install 'deepcadence[search]'" in found["nonesuch"].found
    assert found["pydantic"].state == "ok"
    result = invoke("doctor", "no such model")
    assert result.exit_code == 1
    assert "found no folder 'no such model'" in result.stdout


def test_a_model_that_cannot_be_split_is_bad(invoke: Invoke, sd_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise UnsupportedModelError("self-test failed: it differs")

    monkeypatch.setattr("deepcadence.schedules.runtime.self_test", refuse)
    result = invoke("doctor", sd_folder, "-q")
    assert result.exit_code == 1
    assert "self-test failed: it differs" in result.stdout
