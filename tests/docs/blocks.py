"""Code blocks of Markdown pages, and what running one means.

A page is run from top to bottom, in a folder and a namespace of its own, as a reader would:

- `python` is executed; `pycon` is a doctest;
- `console` lines that begin with `$` are run (deepcadence) or checked (make, pip, python -m, ...); lines behind a
  command are what it must print;
- `json` and `toml` are parsed, and JSON is loaded where it is a schedule;
- `bash` must have no error of syntax, and its lines that begin with deepcadence are run; so are the commands of the
  containers in `yaml`. Of what torchrun is to start, one process is run.

A language that is none of these fails, so that nothing is passed over. What takes long is made small on the way, by
`SMALLER`: the same text with other numbers.
"""

from __future__ import annotations

import doctest
import importlib.util
import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from typer.testing import CliRunner

from deepcadence.cli._app import app
from deepcadence.schedules import Schedule

ROOT = Path(__file__).parents[2]
PROSE = ("text", "")

SMALLER = [
    (r"--steps \d+", "--steps 6"),
    (r"--seeds \d+", "--seeds 2"),
    (r"--target-speedup \S+", "--target-speedup 1.2"),
    (r"(deepcadence probe .*)", r"\1 --max-distance 1"),
    (r"(deepcadence search .*)", r"\1 --trials 1 --seeds 2 --held-out 2 --cut 0"),
    (r"(deepcadence bench .*)", r"\1 --rounds 1"),
    (r"postgresql\+psycopg://\S+", "sqlite:///shared.db"),
    (r"--device cuda", "--device cpu"),
    (r"--dtype float16", "--dtype float32"),
    (r"\bsteps=50", "steps=6"),
    (r"range\(16\)", "range(2)"),
    (r"range\(16, 272\)", "range(2, 4)"),
    (r"trials=60", "trials=1, cuts=[0], max_uniform=1, max_published=1, fewer_steps=[3]"),
    (r"held_out_seeds\(study, 256\)", "held_out_seeds(study, 2)"),
    (r"target_speedup=[\d.]+", "target_speedup=1.1"),
    (r"max_distance=\d+", "max_distance=1"),
]


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the line on which the text begins."""

    language: str
    text: str
    line: int


def blocks(path: Path) -> list[Block]:
    """The fenced blocks of a page. What snippets put in from elsewhere is not the page's own."""
    text = path.read_text(encoding="utf-8")
    found = []
    for match in re.finditer(r"^( *)```([\w-]*)[^\n]*\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL):
        indent, language, body = match.groups()
        if "--8<--" not in body:
            plain = re.sub(rf"^{indent}", "", body, flags=re.MULTILINE)
            found.append(Block(language, plain, text[: match.start(3)].count("\n") + 1))
    return found


def smaller(text: str) -> str:
    """The same with numbers that a test can afford."""
    for pattern, replacement in SMALLER:
        text = re.sub(pattern, replacement, text)
    return text


class Page:
    """Runs the blocks of a page one after the other."""

    def __init__(self, path: Path, model: Path) -> None:
        self.path, self.model = path, model
        self.names: dict[str, Any] = {"__name__": "__main__"}

    def run(self) -> None:
        runners: dict[str, Callable[[Block, str], object]] = {
            "python": self._python,
            "pycon": self._doctest,
            "console": self._console,
            "bash": self._script,
            "yaml": self._jobs,
            "json": self._json,
            "toml": lambda block, _: tomllib.loads(block.text),
        }
        for block in blocks(self.path):
            place = f"{self.path.relative_to(ROOT)}:{block.line}"
            if block.language in runners:
                runners[block.language](block, place)
            else:
                assert block.language in PROSE, f"{place}: nobody runs a block of {block.language!r}"

    def _python(self, block: Block, _: str) -> None:
        code = compile("\n" * (block.line - 1) + smaller(block.text), str(self.path), "exec")
        exec(code, self.names)  # noqa: S102 - our own text

    def _json(self, block: Block, place: str) -> None:
        if "calls" in json.loads(block.text):
            Schedule.loads(block.text, source=place)

    def _doctest(self, block: Block, place: str) -> None:
        test = doctest.DocTestParser().get_doctest(block.text, self.names, place, str(self.path), block.line - 1)
        said: list[str] = []
        results = doctest.DocTestRunner(verbose=False).run(test, out=said.append, clear_globs=False)
        self.names.update(test.globs)
        assert results.failed == 0, "".join(said)

    def _console(self, block: Block, place: str) -> None:
        text = re.sub(r" *\\\n *", " ", block.text)
        for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            line, _, expected = part.partition("\n")
            command = re.sub(r"\s+#.*", "", line).strip()
            said = self._command(command, place)
            for wanted in filter(None, map(str.rstrip, expected.splitlines())):
                assert wanted in [shown.rstrip() for shown in said.splitlines()], f"{place}: {line}\n{said}"

    def _script(self, block: Block, place: str) -> None:
        checked = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, check=False)
        assert checked.returncode == 0, f"{place}: {checked.stderr}"
        for line in re.sub(r" *\\\n *", " ", block.text).splitlines():
            if line.strip().startswith(("deepcadence", "torchrun")):
                self._command(line.strip(), place)

    def _jobs(self, block: Block, place: str) -> None:
        for job in yaml.safe_load_all(block.text):
            for container in job["spec"]["template"]["spec"]["containers"]:
                self._command(shlex.join(container["command"]), place)

    def _command(self, command: str, place: str) -> str:
        command = re.sub(r"^torchrun --nproc-per-node \d+ -m deepcadence\.cli ", "deepcadence ", command)
        words = shlex.split(command)
        if words[0] == "deepcadence":
            return self._deepcadence(smaller(command), place)
        assert known_command(words), f"{place}: {command}"
        return ""

    def _deepcadence(self, command: str, place: str) -> str:
        words = [str(self.model) if word == "MODEL" else word for word in shlex.split(command)[1:]]
        if not _takes_prompts(self.model):
            words = _without(words, "--prompts")
        if words[0] in ("demo", "--install-completion", "--show-completion"):
            words = [words[0], "--help"]  # the demo has tests of its own, and takes minutes
        elif words[0] in ("probe", "search", "worker", "generate", "bench") and "--device" not in words:
            words += ["--device", "cpu"]
        result = CliRunner().invoke(app, words, env={"COLUMNS": "200", "NO_COLOR": "1"})
        assert result.exit_code == 0, f"{place}: {command}\n{result.output}\n{result.stderr}"
        return result.stdout


def known_command(words: list[str]) -> bool:
    """Whether a command other than ours names what exists."""
    name = Path(words[0]).name
    if name == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        return all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in words[1:])
    if name == "pip":
        return words[1] == "install" and all(_installable(word) for word in words[2:])
    if name == "python" and words[1] == "-m":
        return importlib.util.find_spec(words[2]) is not None
    more = words[2:3] in ([], ["--artifact-dir"])
    return name == "optuna-dashboard" and "://" in words[1] and more


def _installable(requirement: str) -> bool:
    match = re.fullmatch(r"([\w-]+)(?:\[(\w+)\])?", requirement)
    if match is None:
        return False
    name, extra = match.groups()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    if name == "deepcadence":
        return extra is None or extra in project["project"]["optional-dependencies"]
    return re.search(rf'"{name}\b', (ROOT / "pyproject.toml").read_text(encoding="utf-8")) is not None


def _takes_prompts(model: Path) -> bool:
    return (model / "tokenizer").is_dir()


def _without(words: list[str], option: str) -> list[str]:
    if option not in words:
        return words
    at = words.index(option)
    return words[:at] + words[at + 2 :]
