from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.cli.conftest import Invoke

COMMANDS = ["demo", "probe", "search", "worker", "generate", "bench", "report", "macs", "doctor"]
COMMANDS += [f"schedule {name}" for name in ("new", "show", "validate", "resample", "export", "import")]


def words(text: str) -> str:
    """Without the borders and line ends of help texts."""
    return " ".join(text.replace("│", " ").split())


def test_the_first_page_shows_the_way(invoke: Invoke) -> None:
    result = invoke("--help")
    assert result.exit_code == 0
    for command in [*COMMANDS[:9], "schedule"]:
        assert f" {command} " in result.stdout
    assert "deepcadence search MODEL --profile profile.safetensors --target-speedup 2" in words(result.stdout)
    assert "130 stopped with Ctrl-C" in words(result.stdout)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_has_an_example_that_works(invoke: Invoke, command: str) -> None:
    result = invoke(*command.split(), "--help")
    assert result.exit_code == 0
    assert f"deepcadence {command}" in words(result.stdout)
    for option in ("--debug", "--quiet", "--json"):
        assert option in result.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_explained(invoke: Invoke, command: str) -> None:
    from typer.main import get_command

    from deepcadence.cli._app import app

    found = get_command(app)
    for name in command.split():
        found = found.commands[name]  # type: ignore[attr-defined]
    unexplained = [parameter.name for parameter in found.params if not getattr(parameter, "help", None)]
    assert not unexplained


def test_no_command_shows_the_help(invoke: Invoke) -> None:
    assert "Usage" in invoke().stdout + invoke().stderr
    assert "Usage" in invoke("schedule").stdout + invoke("schedule").stderr


def test_an_unknown_command_is_wrong_usage(shell: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    result = shell("prob")
    assert result.returncode == 2
    assert "No such command" in result.stderr


def test_help_is_quick_because_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; from deepcadence.cli._app import app\n"
        "heavy = {'torch', 'diffusers', 'optuna', 'matplotlib', 'transformers'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
