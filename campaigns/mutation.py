"""Do the tests notice changes in `schedules/`? A random sample of mutants, by mutmut.

    python -m campaigns.mutation --sample 150 --seed 0 --out reports/results/campaign-mutation
    python -m campaigns.mutation --files 'generators.py' 'reuse.py'

The sources and the tests are copied to `build/mutation`, since mutmut rewrites them. First the tests run once, to learn
which of them reach which function; then for each mutant those that reach it, until one fails. What an earlier run found
stays there, and only what has changed since, or was never tried, is tried again. A mutant that no test reaches counts
as one that survived; one whose tests take far longer than they should counts as noticed.

Left out are the tests that compile, since mutmut's way of switching mutants on cannot be compiled, and the table of
support, which takes minutes: the score is a lower bound. The exit code is 1 where it is below 80 %.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy.stats import binomtest

from benchmarks.measuring import command_line, environment, machine, write_result

FOLDER = Path("build/mutation")
PACKAGE = Path("src/deepcadence/schedules")
COPIED = ("tests", "benchmarks", "campaigns", "docs")
LEAST = 0.8
NOTICED = ("killed", "timeout", "segfault", "suspicious")
"""What mutmut says of mutants with which a test failed, did not end, or ended the process."""


def copy_sources(files: Sequence[str], tests: Sequence[str]) -> None:
    """The copy that mutmut works on. What did not change keeps its time: mutmut goes by that."""
    shutil.copytree("schedules/deepcadence", FOLDER / "src/deepcadence", dirs_exist_ok=True)
    for name in COPIED:
        shutil.copytree(name, FOLDER / name, dirs_exist_ok=True)
    quiet = ["--override-ini", "pythonpath=.", "-p", "no:cacheprovider", "-p", "no:xdist"]
    left_out = ["--ignore", "tests/schedules/conditions", "-k", "not compile and not graphs"]
    told = {
        "source_paths": ["src"],
        "also_copy": list(COPIED),
        "pytest_add_cli_args": quiet + left_out,
        "pytest_add_cli_args_test_selection": list(tests),
        "only_mutate": [str(PACKAGE / name) for name in files],
    }
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in told.items()]
    text = Path("pyproject.toml").read_text(encoding="utf-8") + "\n[tool.mutmut]\n" + "".join(lines)
    if not (path := FOLDER / "pyproject.toml").exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def mutmut(*words: str, capture: bool = False) -> subprocess.CompletedProcess[str]:
    """Run mutmut in the copy. CI=true has hypothesis draw the same each time, however slow it is."""
    return subprocess.run(
        [sys.executable, "-m", "mutmut", *words],
        check=False,
        cwd=FOLDER,
        env=os.environ | {"CI": "true", "OMP_NUM_THREADS": "1"},
        capture_output=capture,
        text=True,
    )


def statuses() -> dict[str, str]:
    """Every mutant that there is, and what is known of it."""
    found = re.findall(r"^ {4}(\S+): (.+)$", mutmut("results", "--all", "true", capture=True).stdout, re.MULTILINE)
    return dict(found)


def share(noticed: int, tried: int) -> tuple[float, float, float]:
    """The share and its 95% interval (Wilson)."""
    interval = binomtest(noticed, tried).proportion_ci(method="wilson")
    return noticed / tried, interval.low, interval.high


def markdown(result: Mapping[str, Any]) -> str:
    """The result in words: the score, and each mutant that survived, as the difference that it is."""
    score, low, high = result["score"]
    counts = ", ".join(f"{count} {status}" for status, count in result["counts"].items())
    survivors = "".join(
        f"\n`{each['name']}` ({each['status']})\n\n```diff\n{each['diff']}\n```\n" for each in result["survivors"]
    )
    return (
        f"# Mutants of `schedules/`\n\n`{result['command']}`\n\n{machine(result['environment'])}.\n\n"
        f"{result['tried']} of {result['mutants']:,} mutants, seed {result['seed']}, in {result['seconds']:.0f} s: "
        f"{counts}. Noticed: {score:.1%} [{low:.1%}, {high:.1%}].\n\n## Survivors\n{survivors or 'None.'}"
    )


def difference(name: str) -> str:
    """What a mutant changes, without the lines around it."""
    shown = mutmut("show", name, capture=True).stdout.splitlines()
    return "\n".join(line for line in shown if line[:1] in "+-@" and line[:3] not in ("---", "+++"))


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Make the mutants, try those drawn, and count."""
    copy_sources(arguments.files, arguments.tests)
    began = time.monotonic()
    workers = ("--max-children", str(arguments.workers))
    print("making mutants, and running the tests once; minutes", file=sys.stderr)
    # A name that no mutant has: they are made, and the tests run once, before mutmut refuses it.
    said = mutmut("run", "none", *workers, capture=True)
    if "nothing matches" not in said.stderr:
        sys.exit(f"{said.stdout[-9000:]}\n{said.stderr}\nmutmut came not so far: see above")
    if not (known := statuses()):
        sys.exit(f"mutmut makes no mutants of {', '.join(arguments.files)}")
    drawn = random.Random(arguments.seed).sample(sorted(known), min(arguments.sample, len(known)))
    if new := [name for name in drawn if known[name] == "not checked"]:
        mutmut("run", *new, *workers)
    known = statuses()
    if any(known[name] == "not checked" for name in drawn):
        sys.exit("mutmut stopped before the end: the tests do not pass without a change, or see what it says above")
    survivors = [name for name in sorted(drawn) if known[name] not in NOTICED]
    return {
        "command": command_line("campaigns.mutation"),
        "environment": environment("mutmut"),
        "seed": arguments.seed,
        "seconds": round(time.monotonic() - began, 1),
        "mutants": len(known),
        "tried": len(drawn),
        "counts": dict(Counter(known[name] for name in drawn).most_common()),
        "score": share(len(drawn) - len(survivors), len(drawn)),
        "survivors": [{"name": name, "status": known[name], "diff": difference(name)} for name in survivors],
    }


def main() -> None:
    """Try them, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=400, help="mutants to try (default 400)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--files", nargs="+", default=["*.py"], help="of schedules/, as patterns; all by default")
    parser.add_argument("--tests", nargs="+", default=["tests/schedules"], help="what pytest is given")
    parser.add_argument("--workers", type=int, default=2, help="mutants at once (default 2)")
    parser.add_argument("--out", type=Path, help="write PATH.json and PATH.md")
    arguments = parser.parse_args()
    result = run(arguments)
    print(markdown(result))
    if arguments.out:
        write_result(arguments.out, result, markdown(result))
    sys.exit(result["score"][0] < LEAST)


if __name__ == "__main__":
    main()
