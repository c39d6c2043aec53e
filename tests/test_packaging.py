"""The wheel: what it holds, what it asks for, and what an installation without extras can do."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from email.message import Message
from email.parser import Parser
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE_ROOTS = ["schedules", "probe", "search", "reports"]
PACKAGES = ["schedules", "probe", "search", "reports", "cli"]
MODEL = "deepcadence/probe/bundled/model"
MODEL_BYTES = 12_000_000
PIP = (sys.executable, "-P", "-m", "pip", "--disable-pip-version-check", "--python")


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command, and keep what it prints."""
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of the source tree."""
    folder = tmp_path_factory.mktemp("wheel")
    done = run(sys.executable, "-P", "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def names(wheel: Path) -> dict[str, int]:
    """Files in the wheel, but for its `.dist-info`, and their sizes."""
    with zipfile.ZipFile(wheel) as archive:
        return {info.filename: info.file_size for info in archive.infolist() if ".dist-info/" not in info.filename}


@pytest.fixture(scope="module")
def info(wheel: Path) -> Message:
    """The wheel's metadata."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return Parser().parsestr(archive.read(name).decode())


def test_the_tests_import_the_installed_wheel() -> None:
    if not os.environ.get("DEEPCADENCE_TEST_WHEEL"):
        pytest.skip("these tests run on the source tree; `make test` runs them on the wheel")
    installed = Path(sysconfig.get_path("purelib"))
    for name in PACKAGES:
        module = importlib.import_module(f"deepcadence.{name}")
        assert Path(str(module.__file__)).is_relative_to(installed)
        assert [Path(path) for path in module.__path__] == [installed / "deepcadence" / name]


def test_the_wheel_holds_every_source_file_and_nothing_else(names: dict[str, int]) -> None:
    sources = {
        path.relative_to(ROOT / root).as_posix()
        for root in SOURCE_ROOTS
        for path in (ROOT / root / "deepcadence").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert set(names) == sources


def test_the_namespace_has_no_init(names: dict[str, int]) -> None:
    assert "deepcadence/__init__.py" not in names
    assert {name.split("/")[1] for name in names} == set(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_typed(names: dict[str, int], package: str) -> None:
    assert f"deepcadence/{package}/py.typed" in names


def test_the_wheel_holds_schema_and_templates(names: dict[str, int]) -> None:
    assert "deepcadence/schedules/schedule.schema.json" in names
    assert any(re.fullmatch(r"deepcadence/reports/templates/\w+\.html(\.j2|\.jinja)?", name) for name in names)
    assert {f"deepcadence/reports/templates/report.{kind}" for kind in ("css", "js")} <= set(names)


def test_the_wheel_holds_the_bundled_model(names: dict[str, int]) -> None:
    model = {name.removeprefix(f"{MODEL}/"): size for name, size in names.items() if name.startswith(MODEL)}
    assert {"model_index.json", "scheduler/scheduler_config.json", "unet/config.json"} <= set(model)
    assert 0 < model["unet/diffusion_pytorch_model.safetensors"] <= MODEL_BYTES


def test_no_pickle_is_shipped(names: dict[str, int]) -> None:
    assert not [name for name in names if name.endswith((".bin", ".ckpt", ".pkl", ".pt", ".pth"))]


def test_inference_needs_torch_and_pydantic_only(info: Message) -> None:
    required = [line for line in info.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert {re.split(r"[^\w-]", line)[0] for line in required} == {"pydantic", "torch"}
    assert set(info.get_all("Provides-Extra", [])) == {"probe", "search", "reports", "all"}


def test_the_license_is_shipped(wheel: Path, info: Message) -> None:
    assert info["License-Expression"] == "Apache-2.0"
    with zipfile.ZipFile(wheel) as archive:
        assert [name for name in archive.namelist() if name.endswith(".dist-info/licenses/LICENSE")]


def test_every_dependency_says_who_uses_it() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    lists = text[text.index("dependencies = [") : text.index("[tool.hatch.build]")]
    lines = [line for line in lists.splitlines() if line.startswith('    "') and "deepcadence[" not in line]
    assert len(lines) > 10
    assert not [line for line in lines if not re.search(r",\s+# \w", line)]


def test_every_dependency_is_pinned(info: Message) -> None:
    pinned = re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    groups = (ROOT / "pyproject.toml").read_text(encoding="utf-8").split("[dependency-groups]")[1].split("[tool.")[0]
    asked = [re.split(r"[^\w-]", line)[0] for line in info.get_all("Requires-Dist", [])]
    asked += re.findall(r'^    "([\w-]+)', groups, re.MULTILINE)
    assert {_canonical(name) for name in asked} - {"deepcadence"} <= {_canonical(name) for name in pinned}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_import_is_declared(info: Message, package: str) -> None:
    extra = {"schedules": "", "cli": "reports"}.get(package, package)
    allowed = {"deepcadence", "pydantic_core"} | set(sys.stdlib_module_names)  # pydantic_core is part of pydantic
    distributions = metadata.packages_distributions()
    declared = _declared(info, extra)
    undeclared = {
        module
        for module in _imports(Path(importlib.import_module(f"deepcadence.{package}").__path__[0])) - allowed
        if not declared & {_canonical(name) for name in distributions.get(module, [])}
    }
    assert not undeclared


# ---- an installation without extras


@pytest.fixture(scope="module")
def bare_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the wheel, torch, pydantic, what those two need, and nothing else.

    They are links to the packages of this environment: the same files as `pip install` of the wheel in an empty
    environment gives, without the download.
    """
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip())
    for distribution in _closure(["torch", "pydantic"]):
        _link(distribution, site)
    done = run(*PIP, python, "install", "--no-deps", "--no-index", wheel)
    assert done.returncode == 0, done.stdout + done.stderr
    return python


def test_nothing_that_it_asks_for_is_missing(bare_python: Path) -> None:
    done = run(*PIP, bare_python, "check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_runtime_works_without_extras(bare_python: Path) -> None:
    done = run(
        bare_python, "-P", "-c", "from deepcadence.schedules import uniform; print(uniform(10, 5, 0).full_calls)"
    )
    assert (done.returncode, done.stdout) == (0, "(0, 5)\n"), done.stderr


@pytest.mark.parametrize(
    "use",
    [
        "from deepcadence.probe import load_pipeline; load_pipeline('bundled')",
        "from deepcadence.search import run_study",
        "from deepcadence.reports import render_report",
    ],
)
def test_a_missing_extra_names_the_command_to_type(bare_python: Path, use: str) -> None:
    program = f"""
from deepcadence.schedules import MissingExtraError
try:
    {use}
except MissingExtraError as error:
    print(error)
"""
    done = run(bare_python, "-P", "-c", program)
    assert done.returncode == 0, done.stderr
    assert re.search(r"pip install ['\"]?deepcadence\[(probe|search|reports|all)\]", done.stdout), done.stdout


def test_the_command_without_extras_names_the_command_to_type(bare_python: Path) -> None:
    done = run(bare_python.with_name("deepcadence"), "demo")
    assert done.returncode == 1
    assert re.search(r"pip install ['\"]?deepcadence\[(reports|all)\]", done.stderr), done.stderr
    assert "Traceback" not in done.stderr


def test_the_command_tells_its_version(info: Message) -> None:
    done = run(sys.executable, "-P", "-c", "from deepcadence.cli import main; main()", "--version")
    assert (done.returncode, done.stdout.strip()) == (0, f"deepcadence {info['Version']}"), done.stderr


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _declared(info: Message, extra: str) -> set[str]:
    """Names of what the wheel requires with `extra`, extras that it holds included."""
    names: set[str] = set()
    for line in info.get_all("Requires-Dist", []):
        name, condition = re.split(r"[^\w-]", line)[0], line.partition(";")[2]
        if condition and f"'{extra}'" not in condition:
            continue
        held = re.match(r"deepcadence\[(\w+)\]", line)
        names |= _declared(info, held[1]) if held else {_canonical(name)}
    return names


def _imports(folder: Path) -> set[str]:
    """Top-level names of all modules that the files in `folder` import."""
    found: set[str] = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return found


def _closure(names: list[str]) -> list[metadata.Distribution]:
    """The distributions called `names` and all that they need here, extras aside."""
    found: dict[str, metadata.Distribution] = {}
    while names:
        name = names.pop()
        if name not in found:
            found[name] = metadata.distribution(name)
            lines = [line for line in found[name].requires or [] if "extra ==" not in line]
            names += [_canonical(re.split(r"[^\w.-]", line)[0]) for line in lines if _applies(line)]
    return list(found.values())


def _applies(requirement: str) -> bool:
    from packaging.requirements import Requirement

    marker = Requirement(requirement).marker
    return marker is None or marker.evaluate()


def _link(distribution: metadata.Distribution, site: Path) -> None:
    """Links in `site` to everything of `distribution` that stands in its own site-packages."""
    tops = {file.parts[0] for file in distribution.files or []} - {"..", "__pycache__"}
    for top in tops:
        if not (site / top).exists():
            (site / top).symlink_to(Path(str(distribution.locate_file(top))).resolve())
