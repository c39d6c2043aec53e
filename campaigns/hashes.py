"""Are the files that pip installed those that `constraints.txt` was made from?

Below each pin of `constraints.txt` stand names and SHA-256 of files of that version, as comments, since pip would
refuse what has other files: each platform has its own, and torch has builds of its own beside. A file of the same name
and another hash is not what was tested. pip's reports, which `make` keeps in `.venv`, say what it took.

    python -m campaigns.hashes .venv/.*.json

compares, and with `--record` adds to `constraints.txt` what it does not have: what this platform takes. The exit code
is 1 where a file has another hash.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from deepcadence.schedules import write_atomically

CONSTRAINTS = Path("constraints.txt")
_PIN = re.compile(r"([\w.-]+)==")
_FILE = re.compile(r"    # (\S+) sha256:([0-9a-f]{64})")


class Taken(NamedTuple):
    """A file that pip installed from: its package, its name and its SHA-256."""

    package: str
    file: str
    sha256: str


def spelled(name: str) -> str:
    """The name of a package as an index spells it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(constraints: str) -> list[str]:
    """The packages that a constraints file pins, as an index spells them."""
    return [spelled(match[1]) for line in constraints.splitlines() if (match := _PIN.match(line))]


def recorded(constraints: str) -> dict[str, str]:
    """SHA-256 of each file that a constraints file names."""
    return {match[1]: match[2] for line in constraints.splitlines() if (match := _FILE.fullmatch(line))}


def taken(report: str) -> list[Taken]:
    """What a report of pip (`pip install --report`) says it took; nothing for the editable package."""
    found = []
    for each in json.loads(report)["install"]:
        sha256 = each["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256")
        if sha256:
            file = unquote(urlsplit(each["download_info"]["url"]).path).rpartition("/")[2]
            found.append(Taken(spelled(each["metadata"]["name"]), file, sha256))
    return found


def other(files: Iterable[Taken], known: Mapping[str, str]) -> list[str]:
    """Those with another hash than the one that is known, in words."""
    return [
        f"{each.file}: found sha256 {each.sha256}, expected {known[each.file]}"
        for each in files
        if known.get(each.file, each.sha256) != each.sha256
    ]


def with_files(constraints: str, files: Collection[Taken]) -> str:
    """The constraints file with those files below their pins that it does not name yet."""
    known = recorded(constraints)
    lines = []
    for line in constraints.splitlines():
        lines.append(line)
        if match := _PIN.match(line):
            new = {each for each in files if each.package == spelled(match[1]) and each.file not in known}
            lines += [f"    # {each.file} sha256:{each.sha256}" for each in sorted(new)]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Compare, print, and record if asked to."""
    parser = argparse.ArgumentParser(prog="python -m campaigns.hashes", description=__doc__.partition("\n")[0])
    parser.add_argument("reports", type=Path, nargs="+", help="what `pip install --report` wrote")
    parser.add_argument("--record", action="store_true", help=f"add to {CONSTRAINTS} the files that it does not name")
    arguments = parser.parse_args()
    text = CONSTRAINTS.read_text(encoding="utf-8")
    files = [each for report in arguments.reports for each in taken(report.read_text(encoding="utf-8"))]
    known = recorded(text)
    wrong = other(files, known)
    new = [each.file for each in files if each.file not in known]
    print(f"{len(files)} files: {len(files) - len(wrong) - len(new)} as recorded, {len(new)} not recorded")
    print("\n".join(wrong), file=sys.stderr)
    if arguments.record and not wrong:
        write_atomically(CONSTRAINTS, with_files(text, files))
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
