"""Which lines and branches of the package do the tests reach? By coverage.py.

    python -m campaigns.coverage --out reports/results/campaign-coverage
    python -m campaigns.coverage --workers 1 -- -k schedule

All tests run, those of commands in processes of their own counted as well; what follows `--` goes to pytest. The lines
that none reaches are shown in `build/coverage/html/index.html`. The exit code is pytest's where a test fails, otherwise
1 where fewer than 95 % of the lines, or of the branches, are reached.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measuring import command_line, environment, machine, markdown_table, write_result

FOLDER = Path("build/coverage")
LEAST = 0.95
COLUMNS = {
    "part": ("", "s"),
    "lines": ("lines", ",d"),
    "lines_reached": ("reached", ".1%"),
    "branches": ("branches", ",d"),
    "branches_reached": ("reached", ".1%"),
}


def coverage(*words: str) -> int:
    """Run coverage.py with its data in the folder; its exit code."""
    told = {"COVERAGE_FILE": str((FOLDER / "data").absolute()), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-m", "coverage", *words], check=False, env=os.environ | told).returncode


def part_of(path: str) -> str:
    """The part of the package that a file belongs to."""
    return Path(path).as_posix().rpartition("/deepcadence/")[2].partition("/")[0]


def row(part: str, files: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The sums of coverage.py's summaries of files."""
    names = ("num_statements", "covered_lines", "num_branches", "covered_branches")
    lines, reached, branches, taken = (sum(each[name] for each in files) for name in names)
    return {
        "part": part,
        "lines": lines,
        "lines_reached": reached / lines if lines else 1.0,
        "branches": branches,
        "branches_reached": taken / branches if branches else 1.0,
    }


def summary(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """coverage.py's JSON as a row for each part of the package, and one for all."""
    parts: dict[str, list[Mapping[str, Any]]] = {}
    for path, each in report["files"].items():
        parts.setdefault(part_of(path), []).append(each["summary"])
    return [row(name, files) for name, files in parts.items()] + [
        row("all", [each for p in parts.values() for each in p])
    ]


def below(report: Mapping[str, Any]) -> list[str]:
    """The files of which fewer lines and branches than that are reached, and the lines that are missing."""
    shares = {path: each["summary"]["percent_covered"] for path, each in report["files"].items()}
    return [
        f"`{path}`: {share:.0f}%, not lines {', '.join(map(str, report['files'][path]['missing_lines']))}"
        for path, share in shares.items()
        if share < 100 * LEAST
    ]


def markdown(result: Mapping[str, Any]) -> str:
    """The result in words."""
    files = "".join(f"\n- {line}" for line in result["below"])
    return (
        f"# What the tests reach\n\n`{result['command']}`\n\n{machine(result['environment'])}.\n\n"
        f"All tests, in {result['seconds']:.0f} s. Lines and branches, without the two files that train the bundled "
        f"model:\n\n{markdown_table(result['parts'], COLUMNS)}\n"
        f"Files below {LEAST:.0%}, lines and branches together:{files or ' none.'}\n"
    )


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the tests, and sum up what they reached."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    began = time.monotonic()
    tests = ("--numprocesses", arguments.workers, "--maxprocesses", "8", *arguments.pytest)
    if failed := coverage("run", "-m", "pytest", *tests):
        sys.exit(failed)
    json_file = FOLDER / "coverage.json"
    for words in (("combine",), ("html", "--directory", str(FOLDER / "html")), ("json", "-o", str(json_file))):
        if failed := coverage(*words, "--quiet", *([] if words[0] == "combine" else ["--fail-under", "0"])):
            sys.exit(failed)
    report = json.loads(json_file.read_text(encoding="utf-8"))
    return {
        "command": command_line("campaigns.coverage"),
        "environment": environment("coverage", "pytest"),
        "seconds": round(time.monotonic() - began, 1),
        "parts": summary(report),
        "below": below(report),
    }


def main() -> None:
    """Run the tests, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", default="logical", help="of pytest-xdist (default: one a core, eight at most)")
    parser.add_argument("--out", type=Path, help="write PATH.json and PATH.md")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest, after --")
    arguments = parser.parse_args()
    result = run(arguments)
    print(markdown(result))
    if arguments.out:
        write_result(arguments.out, result, markdown(result))
    everything = result["parts"][-1]
    sys.exit(min(everything["lines_reached"], everything["branches_reached"]) < LEAST)


if __name__ == "__main__":
    main()
