"""The audit: what it lets pass, and that it never says that what was not checked is safe."""

from __future__ import annotations

import json

import pytest

from benchmarks.measuring import environment
from campaigns.audit import exit_code, markdown, read_audit, read_files, refused
from tests.campaigns.test_hashes import installed

PINNED = ["jinja2", "torch"]
UNREACHED = {"name": "torch", "skip_reason": "not found"}
SAFE = {"name": "Jinja2", "version": "3.1", "vulns": []}
VULNERABLE = {"name": "jinja2", "version": "3.1", "vulns": [{"id": "CVE-1"}, {"id": "CVE-2"}]}


@pytest.mark.parametrize(
    ("answers", "known", "unchecked"),
    [
        ([SAFE, {**SAFE, "name": "torch"}], [], []),
        ([SAFE, UNREACHED], [], ["torch"]),
        ([VULNERABLE, UNREACHED], ["jinja2 3.1: CVE-1, CVE-2"], ["torch"]),
        ([], [], PINNED),
    ],
)
def test_what_was_not_checked_is_named(answers: list[object], known: list[str], unchecked: list[str]) -> None:
    assert read_audit(json.dumps({"dependencies": answers}), PINNED) == (known, unchecked)


@pytest.mark.parametrize("report", ["", "connection refused", "[]"])
def test_no_answer_is_not_a_good_one(report: str) -> None:
    assert read_audit(report, PINNED) == ([], PINNED)


@pytest.mark.parametrize(
    ("name", "licence", "passes"),
    [
        ("numpy", "BSD-3-Clause AND 0BSD AND MIT AND Zlib AND CC0-1.0", True),
        ("pathspec", "Mozilla Public License 2.0 (MPL 2.0)", True),
        ("x", "(MIT OR Apache-2.0)", True),
        ("x", "MIT AND GPL-3.0-only", False),
        ("x", "UNKNOWN", False),
        ("x", "LGPL-3.0-only", False),
        ("psycopg", "LGPL-3.0-only", True),
        ("psycopg", "GPL-3.0-only", False),
    ],
)
def test_licences(name: str, licence: str, passes: bool) -> None:
    package = {"Name": name, "Version": "1", "License": licence}
    assert refused([package]) == ([] if passes else [f"{name} 1: {licence}"])


@pytest.mark.parametrize(
    ("vulnerable", "unchecked", "licences", "other", "code"),
    [
        ([], [], [], [], 0),
        ([], ["torch"], [], [], 2),
        (["jinja2"], ["torch"], [], [], 1),
        ([], [], ["x"], [], 1),
        ([], ["torch"], [], ["x.whl: found"], 1),
    ],
)
def test_exit_code_and_words(
    vulnerable: list[str], unchecked: list[str], licences: list[str], other: list[str], code: int
) -> None:
    files = {"files": 2, "files_other": other, "files_not_recorded": ["y.whl"]}
    result = {"vulnerable": vulnerable, "unchecked": unchecked, "licences_refused": licences, **files}
    assert exit_code(result) == code
    text = markdown({**result, "command": "x", "environment": environment(), "pinned": 2, "installed": 2})
    assert ("were not checked" in text) == bool(unchecked)
    assert all(f"- {line}" in text for line in (*vulnerable, *licences, *other, "y.whl"))


def test_files_are_compared_by_name() -> None:
    constraints = f"x==1\n    # x-1.whl sha256:{'a' * 64}\n    # x-1.tar.gz sha256:{'b' * 64}\n"
    report = json.dumps({"install": [installed("x", "x-1.whl", "c"), installed("y", "y-2%2Bcpu.whl", "d")]})
    found = read_files([report, json.dumps({"install": []})], constraints)
    assert found == {
        "files": 2,
        "files_other": [f"x-1.whl: found sha256 {'c' * 64}, expected {'a' * 64}"],
        "files_not_recorded": ["y-2+cpu.whl"],
    }
