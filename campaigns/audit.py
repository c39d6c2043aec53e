"""What is installed: known vulnerabilities, licences, and whether its files are those that were tested.

Every package that `constraints.txt` pins is looked up in the vulnerability service that pip-audit asks, by name and
version. A package that the service does not answer for is not safe but not checked, and is named. Every package that
is installed beside this interpreter must have a licence of the list below; where a package has several, all of them.
What pip took, by the reports that `make` keeps beside the interpreter, must have the SHA-256 that `constraints.txt`
records for a file of that name.

    python -m campaigns.audit --out reports/results/audit

The exit code is 1 where a vulnerability is known, a licence is not on the list or a file is another, otherwise 2 where
a package could not be looked up, otherwise 0.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measuring import command_line, environment, machine, write_result
from campaigns.hashes import CONSTRAINTS, other, pins, recorded, taken

ALLOWED = frozenset(
    {
        "0BSD",
        "Apache-2.0",
        "BSD",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "BSL-1.0",
        "CC0-1.0",
        "CNRI-Python",
        "ISC",
        "MIT",
        "MIT-CMU",
        "MPL-2.0",
        "PSF-2.0",
        "Zlib",
    }
)
"""Permissive, or, MPL, copyleft for its own files alone."""

EXCEPTIONS = {
    "psycopg": "LGPL-3.0-only",  # tests only; users who search in PostgreSQL install it themselves
    "psycopg-binary": "LGPL-3.0-only",
}

SAME = {
    "Apache 2.0": "Apache-2.0",
    "Apache 2.0 License": "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "MIT licensed, as found in the LICENSE file": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
"""What packages call these licences, beside the identifiers of SPDX."""


def refused(packages: Iterable[Mapping[str, str]]) -> list[str]:
    """The packages, as pip-licenses lists them, with a licence that is not on the list."""
    return [f"{each['Name']} {each['Version']}: {each['License']}" for each in packages if not _allowed(each)]


def _allowed(package: Mapping[str, str]) -> bool:
    parts = re.split(r" AND | OR |; ", package["License"])
    names = {SAME.get(part, part.strip("()")) for part in parts}
    return names <= ALLOWED or EXCEPTIONS.get(package["Name"].lower()) == package["License"]


def read_audit(report: str, pinned: Sequence[str]) -> tuple[list[str], list[str]]:
    """What pip-audit's JSON says of the pinned packages: known vulnerabilities, and the packages it did not check."""
    try:
        answers = {each["name"].lower(): each for each in json.loads(report)["dependencies"]}
    except (ValueError, KeyError, TypeError):
        answers = {}
    known = [
        f"{name} {each['version']}: {', '.join(found['id'] for found in each['vulns'])}"
        for name, each in answers.items()
        if each.get("vulns")
    ]
    return known, [name for name in pinned if "vulns" not in answers.get(name, {})]


def read_files(reports: Iterable[str], constraints: str) -> dict[str, Any]:
    """What pip's reports say beside the hashes that the constraints record."""
    files = {each.file: each for report in reports for each in taken(report)}
    known = recorded(constraints)
    return {
        "files": len(files),
        "files_other": other(files.values(), known),
        "files_not_recorded": sorted(set(files) - set(known)),
    }


def audit() -> dict[str, Any]:
    """Ask the tools, and read pip's reports."""
    module = (sys.executable, "-m")
    listed = _output(*module, "piplicenses", "--from=mixed", "--format=json")
    report = _output(
        *module, "pip_audit", "--requirement", str(CONSTRAINTS), "--no-deps", "--disable-pip", "--format=json",
        "--progress-spinner=off",
    )  # fmt: skip
    constraints = CONSTRAINTS.read_text(encoding="utf-8")
    pinned, packages = pins(constraints), json.loads(listed)
    reports = [path.read_text(encoding="utf-8") for path in sorted(Path(sys.prefix).glob(".*.json"))]
    vulnerable, unchecked = read_audit(report, pinned)
    return {
        "command": command_line("campaigns.audit"),
        "environment": environment("pip-audit", "pip-licenses"),
        "pinned": len(pinned),
        "installed": len(packages),
        "vulnerable": vulnerable,
        "unchecked": unchecked,
        "licences_refused": refused(packages),
        **read_files(reports, constraints),
    }


def _output(*words: str) -> str:
    """What a tool prints; it fails where it found something, so its exit code says nothing here."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if not done.stdout:
        print(done.stderr.strip()[-2000:], file=sys.stderr)
    return done.stdout


def exit_code(result: Mapping[str, Any]) -> int:
    """1: something is wrong; 2: nothing is known to be wrong, but not all was checked; 0."""
    wrong = result["vulnerable"] or result["licences_refused"] or result["files_other"]
    return 1 if wrong else 2 if result["unchecked"] else 0


def markdown(result: Mapping[str, Any]) -> str:
    """The result in words."""
    checked = result["pinned"] - len(result["unchecked"])
    unchecked = (
        f"\n**{len(result['unchecked'])} of them were not checked**: the vulnerability service could not be reached, "
        f"or did not answer for them: {', '.join(result['unchecked'])}.\n"
        if result["unchecked"]
        else ""
    )
    return (
        f"# Audit of what is installed\n\n`{result['command']}`\n\n{machine(result['environment'])}.\n\n"
        f"## Known vulnerabilities\n\nOf {result['pinned']} pinned packages {checked} were checked. "
        f"Known of those: {_list(result['vulnerable'])}{unchecked}\n"
        f"## Licences\n\n{result['installed']} packages are installed. With a licence that is not on the list: "
        f"{_list(result['licences_refused'])}\n"
        f"## Files\n\npip reported {result['files']} files that it installed from. With another SHA-256 than "
        f"is recorded: {_list(result['files_other'])}\n"
        f"Not recorded, such as those of another platform: {_list(result['files_not_recorded'])}"
    )


def _list(lines: Sequence[str]) -> str:
    return "".join(f"\n- {line}" for line in lines) + "\n" if lines else "none.\n"


def main() -> None:
    """Audit, print, write."""
    parser = argparse.ArgumentParser(prog="python -m campaigns.audit", description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, help="write OUT.json and OUT.md")
    arguments = parser.parse_args()
    result = audit()
    print(markdown(result))
    if arguments.out:
        write_result(arguments.out, result, markdown(result))
    raise SystemExit(exit_code(result))


if __name__ == "__main__":
    main()
