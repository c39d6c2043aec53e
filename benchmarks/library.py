"""Writes what `equal_macs` chose for the bundled model into the library of ready schedules, one file a target.

Calls, reuse and held-out quality are those of the result; model, sampler and cost are those of the bundled model now.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.equal_macs import CHOICE
from benchmarks.grid import CALLS, bundled
from deepcadence.schedules import Quality, Schedule
from deepcadence.schedules.library import LIBRARY
from deepcadence.search import Candidate, Evaluator
from deepcadence.search.provenance import documented


def schedule(row: dict[str, Any], evaluator: Evaluator) -> Schedule:
    """A row of the result as a schedule file."""
    candidate = Candidate(
        origin="predicted",
        label=row["label"],
        calls=tuple(row["calls"]),
        steps=CALLS,
        order=row["order"],
        alpha=row["alpha"],
    )
    quality = [_quality(metric, unit, row[f"{metric}_estimate"]) for metric, unit in (("psnr", "dB"), ("ssim", ""))]
    return documented(candidate, evaluator, None).model_copy(update={"quality": tuple(quality)})


def _quality(metric: str, unit: str, estimate: dict[str, Any]) -> Quality:
    return Quality(
        metric=metric,
        unit=unit,
        value=estimate["mean"],
        ci95=tuple(estimate["ci95"]),
        samples=estimate["samples"],
        seeds="held-out",
        reference="full",
    )


def main(words: Sequence[str] | None = None) -> None:
    """Read, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.library", description=__doc__)
    parser.add_argument("--result", type=Path, default=Path("reports/results/benchmark-equal-macs.json"))
    arguments = parser.parse_args(words)
    evaluator = Evaluator(bundled("bundled", 1, "cpu"))
    for row in json.loads(arguments.result.read_text())["rows"]:
        if row["name"] == CHOICE:
            path = LIBRARY / f"bundled-{row['target']:g}x.json"
            schedule(row, evaluator).save(path)
            print(path)


if __name__ == "__main__":
    main()
