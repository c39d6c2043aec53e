"""Whether intervals hold what they promise: a schedule measured twice agrees within its interval 19 times in 20.

    python -m campaigns.calibration --samples 512 --count 500 --out reports/results/campaign-calibration

PSNR and SSIM of the bundled model under uniform schedules are measured on many samples, which then are the population.
Measurements are random draws from it, each with the interval that the search would state. Counted is how often

- the interval holds the population's mean,
- two measurements differ by no more than their intervals together allow, sqrt(a^2 + b^2) for half-widths a and b,
- the mean of one lies in the interval of the other: since both err, 83 times in 100 is right, not 95.

What was measured and drawn is kept, and the same command goes on there.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measuring import command_line, environment, machine, markdown_table, write_result
from campaigns.tally import Tally
from deepcadence.probe import Workload, load_pipeline
from deepcadence.schedules import uniform, write_atomically
from deepcadence.search import Evaluator, mean_and_ci

BLOCK = 64
"""Samples that are measured, and kept, at once."""
LEAST = 0.92
"""A share below this is a finding: 500 draws at 95 % give less than that once in 700 times."""
COLUMNS = {
    "schedule": ("schedule", "s"),
    "metric": ("metric", "s"),
    "n": ("samples", "d"),
    "draws": ("draws", "d"),
    "holds": ("holds the mean", ".1%"),
    "agrees": ("two agree", ".1%"),
    "inside": ("one inside the other", ".1%"),
}


def measure(path: Path, model: str, samples: int, intervals: list[int]) -> dict[str, list[float]]:
    """Values per sample, by "1:N metric"; kept in `path` block by block."""
    kept: dict[str, list[float]] = json.loads(path.read_text()) if path.exists() else {}
    pipeline = load_pipeline(model)
    while (done := min(map(len, kept.values()), default=0)) < samples:
        evaluator = Evaluator(Workload(pipeline, seeds=tuple(range(done, done + BLOCK)), batch_size=16))
        for interval in intervals:
            found = evaluator.measure(uniform(evaluator.num_calls, interval, 0))
            for metric, values in (("PSNR", found.psnr), ("SSIM", found.ssim)):
                kept.setdefault(f"1:{interval} {metric}", []).extend(float(value) for value in values)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(kept))
        print(f"{done + BLOCK} of {samples} samples", flush=True)
    return {name: values[:samples] for name, values in kept.items()}


def draw(values: np.ndarray[Any, Any], n: int, dice: np.random.Generator) -> dict[str, bool]:
    """Two measurements of n samples each, and what holds for them."""
    one, two = (mean_and_ci(dice.choice(values, n).tolist(), seed=int(dice.integers(2**31))) for _ in range(2))
    truth = float(values.mean())
    upper, lower = (one, two) if one.mean > two.mean else (two, one)
    allowed = math.hypot(upper.mean - upper.ci95[0], lower.ci95[1] - lower.mean)
    return {
        "holds": one.ci95[0] <= truth <= one.ci95[1],
        "agrees": upper.mean - lower.mean <= allowed,
        "inside": one.ci95[0] <= two.mean <= one.ci95[1],
    }


def run(tally: Tally, population: dict[str, list[float]], sizes: list[int], count: int) -> None:
    """`count` draws of every size from every population; the n-th draw is the same whenever it is made."""
    cases = [(name, n) for name in population for n in sizes]
    while tally.done < count * len(cases):
        began = time.monotonic()
        name, n = cases[tally.done % len(cases)]
        dice = np.random.default_rng([tally.options["seed"], tally.done])
        for kind, right in draw(np.asarray(population[name]), n, dice).items():
            tally.counts[f"{name} {n}/{kind}"] += right
        tally.add(tally.done, f"{name} {n}", "draw")
        tally.seconds += time.monotonic() - began
        if tally.done % 200 == 0:
            tally.save()
            print(f"{tally.done} of {count * len(cases)} draws", flush=True)


def rows_of(tally: Tally, population: dict[str, list[float]], sizes: list[int]) -> list[dict[str, Any]]:
    """One row per population and size."""
    rows = []
    for name in population:
        for n in sizes:
            draws = tally.count(f"{name} {n}", "draw")
            shares = {kind: tally.count(f"{name} {n}", kind) / draws for kind in ("holds", "agrees", "inside")}
            schedule, metric = name.split()
            rows.append({"schedule": schedule, "metric": metric, "n": n, "draws": draws} | shares)
    return rows


def main() -> None:
    """Read the arguments, measure, draw, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--samples", type=int, default=512, help="samples of the population")
    parser.add_argument("--intervals", type=int, nargs="+", default=[2, 3, 5], help="N of the uniform schedules")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 256], help="samples of one measurement")
    parser.add_argument("--count", type=int, default=500, help="draws of each size from each population")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True, help="write PATH.json and PATH.md")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    kept = arguments.out.with_suffix(".samples")
    population = measure(kept, arguments.model, arguments.samples, arguments.intervals)
    names = ("model", "samples", "intervals", "sizes", "seed")
    tally = Tally(arguments.out, {name: getattr(arguments, name) for name in names})
    run(tally, population, arguments.sizes, arguments.count)
    rows = rows_of(tally, population, arguments.sizes)
    findings = [row for row in rows if min(row["holds"], row["agrees"]) < LEAST]
    known = environment("scipy", "torchmetrics")
    line = command_line("campaigns.calibration")
    text = (
        "# Intervals\n\n"
        f"Model {arguments.model}, {arguments.samples} samples, seed {arguments.seed}; shares below {LEAST:.0%}: "
        f"{len(findings)}.\n\n{markdown_table(rows, COLUMNS)}\nMade with `{line}` on {machine(known)}.\n"
    )
    print(text)
    result = {"command": line, "environment": known, "options": tally.options, "seconds": tally.seconds}
    write_result(arguments.out, result | {"rows": rows, "findings": findings, "population": population}, text)
    tally.finish()
    kept.unlink()
    sys.exit(bool(findings))


if __name__ == "__main__":
    main()
