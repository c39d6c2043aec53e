"""What the benchmarks share: a description of the machine, tables, files; and timing, from deepcadence.probe.clock."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from deepcadence.probe.clock import interleaved, median_ratio, timed
from deepcadence.probe.setup import processor
from deepcadence.schedules import write_atomically

__all__ = [
    "command_line",
    "environment",
    "interleaved",
    "keep_freed_memory",
    "machine",
    "markdown_table",
    "median_ratio",
    "timed",
    "write_result",
]


def environment(*packages: str) -> dict[str, Any]:
    """Versions, processor, threads and time, so that a result says where it comes from."""
    return {
        "python": platform.python_version(),
        "packages": {name: version(name) for name in ("deepcadence", "torch", *packages)},
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "load_average": os.getloadavg(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def machine(environment: Mapping[str, Any]) -> str:
    """An environment in words."""
    threads = environment["threads"]
    parts = [environment["gpu"] or environment["processor"], f"{threads} thread{'s' if threads > 1 else ''}"]
    parts += [f"{name} {number}" for name, number in environment["packages"].items()]
    return f"{', '.join(parts)}; {environment['at']}"


def keep_freed_memory() -> bool:
    """Have glibc keep the memory that is freed, so that no contender pays for mapping it again; whether that worked.

    Otherwise each call of a plain run gives its memory back and faults it in again, a tenth of its time on the bundled
    model, and whoever happens to hold a tensor at the end of the heap is spared some of it.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # no glibc
        return False
    trim_threshold, mmap_threshold, large = -1, -3, 2**31 - 1  # as in malloc.h
    return bool(mallopt(trim_threshold, large)) and bool(mallopt(mmap_threshold, 2**25))


def command_line(module: str) -> str:
    """The command that makes this result again."""
    return shlex.join(["python", "-m", module, *sys.argv[1:]])


def markdown_table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, tuple[str, str]]) -> str:
    """A table of `rows`; `columns` maps a key to its heading and its format."""

    def cell(value: Any, form: str) -> str:
        return "-" if value is None else format(value, form)

    lines = ["| " + " | ".join(heading for heading, _ in columns.values()) + " |", "| ---: " * len(columns) + "|"]
    lines += ["| " + " | ".join(cell(row[key], form) for key, (_, form) in columns.items()) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def write_result(path: Path, result: Mapping[str, Any], markdown: str) -> None:
    """`path`.json and `path`.md, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path.with_suffix(".json"), json.dumps(result, indent=2) + "\n")
    write_atomically(path.with_suffix(".md"), markdown)
