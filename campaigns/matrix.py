"""The tests on the oldest and the newest versions that `pyproject.toml` allows, on each Python.

For each Python and each end of the ranges, an environment of its own in `build/matrix/`: the package and its extras at
their lowest versions (of what it names itself; of what those need, the newest that fit) or at their highest, the tools
of the tests on top, and the tests against the installed wheel. An interpreter that is missing is skipped by name.
Packages are taken as wheels, but for those that have none.

    python -m campaigns.matrix --out reports/results/matrix
    python -m campaigns.matrix --pythons 3.13 --ends newest

Environment variables of uv apply: `UV_TORCH_BACKEND=cpu` spares the GPU builds of torch where that index is reached.
The result is written after each environment; what passed is not tried again by the same command. The exit code is 1
where an environment could not be built or a test failed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measuring import command_line, environment, machine, markdown_table, write_result

ENDS = {"oldest": "lowest-direct", "newest": "highest"}
SPREAD = ("--numprocesses", "logical", "--maxprocesses", "8")
TELLING = ("torch", "diffusers", "transformers", "optuna", "numpy", "pydantic")
TESTS = ("tests/schedules", "tests/probe", "tests/search", "tests/reports", "tests/cli", "tests/test_hostile.py")
BUILT = ("deepcadence", "fvcore", "iopath")
"""The package itself, and those of pure Python that come as sources only."""
COLUMNS = {name: (name, "") for name in ("python", "end", *TELLING, "outcome", "minutes")}


def try_out(python: str, end: str, tests: Sequence[str]) -> dict[str, Any]:
    """Build one environment and run the tests in it."""
    folder = Path("build/matrix") / f"{python}-{end}"
    row: dict[str, Any] = {**dict.fromkeys(COLUMNS), "python": python, "end": end}
    began = time.monotonic()
    if _run("uv", "python", "find", "--quiet", "--no-python-downloads", python):
        return {**row, "outcome": f"skipped: no Python {python} on this machine"}
    inside = ("--python", str(folder / "bin/python"))
    built = [word for name in BUILT for word in ("--no-binary", name)]
    shutil.rmtree(folder, ignore_errors=True)  # what an interrupted run left is no environment, which uv would refuse
    install = ("uv", "pip", "install", "--quiet", "--only-binary", ":all:", *built, *inside)
    if (
        _run("uv", "venv", "--quiet", "--python", python, str(folder))
        or _run(*install, "--resolution", ENDS[end], ".[all]")
        or _run(*install, "--group", "dev")
    ):
        return {**row, "outcome": "cannot be installed"}
    words = [str(folder / "bin/python"), "-m", "pytest", "-q", "--override-ini", "pythonpath=.", *SPREAD, *tests]
    failed = _run(*words, OMP_NUM_THREADS="1", DEEPCADENCE_TEST_WHEEL="1")
    minutes = f"{(time.monotonic() - began) / 60:.0f}"
    return {**row, **_versions(inside), "outcome": "failed" if failed else "passed", "minutes": minutes}


def _run(*words: str, **variables: str) -> int:
    return subprocess.run(words, check=False, env=os.environ | variables).returncode


def _versions(inside: Sequence[str]) -> dict[str, str]:
    done = subprocess.run(["uv", "pip", "list", "--format", "json", *inside], check=True, capture_output=True)
    return {each["name"]: each["version"] for each in json.loads(done.stdout) if each["name"] in TELLING}


def markdown(result: Mapping[str, Any]) -> str:
    """The result as a table."""
    return f"# Versions\n\n`{result['command']}`\n\n{machine(result['environment'])}.\n\n" + markdown_table(
        result["rows"], COLUMNS
    )


def main() -> None:
    """Try each out, print, write."""
    parser = argparse.ArgumentParser(prog="python -m campaigns.matrix", description=__doc__.partition("\n")[0])
    parser.add_argument("--pythons", nargs="+", default=["3.11", "3.12", "3.13"])
    parser.add_argument("--ends", nargs="+", choices=list(ENDS), default=list(ENDS))
    parser.add_argument("--tests", nargs="+", default=list(TESTS), help="what pytest is given")
    parser.add_argument("--out", type=Path, help="write OUT.json and OUT.md")
    arguments = parser.parse_args()
    result = {"command": command_line("campaigns.matrix"), "environment": environment(), "tests": arguments.tests}
    passed, rows = _passed(arguments.out, arguments.tests), []
    for python in arguments.pythons:
        for end in arguments.ends:
            rows.append(passed.get((python, end)) or try_out(python, end, arguments.tests))
            if arguments.out:
                write_result(arguments.out, result | {"rows": rows}, markdown(result | {"rows": rows}))
    print(markdown(result | {"rows": rows}))
    raise SystemExit(any(row["outcome"] in ("failed", "cannot be installed") for row in rows))


def _passed(out: Path | None, tests: Sequence[str]) -> dict[tuple[str, str], dict[str, Any]]:
    """What an earlier run of these tests found to pass, by Python and end."""
    if out is None or not (path := out.with_suffix(".json")).exists():
        return {}
    found = json.loads(path.read_text(encoding="utf-8"))
    rows = found["rows"] if found.get("tests") == list(tests) else []
    return {(row["python"], row["end"]): row for row in rows if row["outcome"] == "passed"}


if __name__ == "__main__":
    main()
