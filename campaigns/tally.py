"""What a campaign has done so far, kept in a file, so that the same command goes on there."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from deepcadence.schedules import write_atomically

__all__ = ["Tally"]

SHOWN = 200
"""Findings that are kept."""


class Tally:
    """Counts by name, findings, and how far it went."""

    def __init__(self, out: Path, options: dict[str, Any]) -> None:
        self._path, self.options = out.with_suffix(".progress"), options
        self.counts: Counter[str] = Counter()
        self.slowest: dict[str, float] = {}
        self.findings: list[dict[str, Any]] = []
        self.done, self.seconds = 0, 0.0
        if self._path.exists():
            kept = json.loads(self._path.read_text(encoding="utf-8"))
            if kept.pop("options") != options:
                sys.exit(f"{self._path} is of another campaign: remove it to start anew")
            vars(self).update(kept | {"counts": Counter(kept["counts"])})

    def add(self, index: int, name: str, outcome: str, message: str = "", seconds: float = 0.0) -> None:
        """Number `index` is done, and gave `outcome`; "finding" is kept with its message."""
        self.counts[f"{name}/{outcome}"] += 1
        self.slowest[name] = max(self.slowest.get(name, 0.0), seconds)
        if outcome == "finding" and len(self.findings) < SHOWN:
            self.findings.append({"index": index, "name": name, "message": message})
        self.done = index + 1

    def count(self, name: str, outcome: str) -> int:
        """How often `name` gave `outcome`."""
        return self.counts[f"{name}/{outcome}"]

    def save(self) -> None:
        """Keep it."""
        kept = {key: value for key, value in vars(self).items() if not key.startswith("_")}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._path, json.dumps(kept))

    def finish(self) -> None:
        """The result is written: the next campaign of that name starts anew."""
        self._path.unlink(missing_ok=True)

    def listed(self) -> str:
        """The findings as a list in Markdown, each on one line."""
        lines = [f"- {each['index']}, {each['name']}: {' '.join(each['message'].split())}\n" for each in self.findings]
        return "".join([*lines, "\n" * bool(lines)])
