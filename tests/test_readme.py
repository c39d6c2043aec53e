"""What the README types exists: imports, commands, options, make targets, files."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deepcadence.cli._app import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = re.findall(r"^\$ deepcadence (.*?)(?:\s+#.*)?$", README, re.MULTILINE)


@pytest.mark.parametrize("program", PROGRAMS)
def test_python_imports_what_exists(program: str) -> None:
    imports = [node for node in ast.parse(program).body if isinstance(node, ast.ImportFrom)]
    assert imports
    exec(compile(ast.Module(list(imports), []), "README.md", "exec"), {})  # noqa: S102 our own text


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_have_the_options(command: str) -> None:
    words = shlex.split(command)
    name = [word for word in words[:2] if re.fullmatch("[a-z]+", word)]
    shown = CliRunner().invoke(app, [*name, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
    assert shown.exit_code == 0, shown.output
    options = [word for word in words if word.startswith("-")]
    assert not [option for option in options if not re.search(rf"(?<![\w-]){option}(?![\w-])", shown.output)]


def test_there_is_something_to_check() -> None:
    assert len(PROGRAMS) >= 2
    assert len(COMMANDS) >= 5


def test_make_has_the_targets() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^\$ make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_linked_files_exist() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
