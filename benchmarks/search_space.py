"""What is worth searching: reuse, its strength, adaptive schedules, fewer steps with a schedule, and spacing.

Uniform schedules of the bundled model at one cut, each changed in one way, against the uncached run with all steps, by
exact MACs. Prints a table, and with --out writes it as PATH.md and PATH.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.progress import track

from benchmarks.measuring import command_line, environment, machine, markdown_table, write_result
from deepcadence.probe import Workload, load_pipeline
from deepcadence.schedules import Schedule, uniform
from deepcadence.search import Evaluator, mean_and_ci

STEPS = 50
FEWER = (40, 33, 25, 20)
SPACINGS = ("leading", "linspace")
REUSES = ((1, 0.75), (1, 1.0), (1, 1.25), (1, 1.5), (1, 1.75), (2, 0.5), (2, 1.0))
THRESHOLDS = (0.03, 0.05, 0.1, 0.2)
COLUMNS = {"name": ("", "s"), "speedup": ("MACs, times fewer", ".2f"), "psnr": ("PSNR, dB", "s")}


def contenders(intervals: Sequence[int], cut: int) -> Iterator[tuple[str, Schedule | None, dict[str, Any]]]:
    """Name, schedule (None without a cache), and how the sampler runs."""
    for interval in intervals:
        base = uniform(STEPS, interval, cut)
        yield f"1:{interval} held", base, {}
        for order, alpha in REUSES:
            yield f"1:{interval} order {order} alpha {alpha:g}", base.extrapolated(order, alpha), {}
    for threshold in THRESHOLDS:
        yield f"adaptive {threshold:g}, at most 8", uniform(STEPS, STEPS, cut).adaptive(threshold, 8), {}
    for steps in FEWER:
        yield f"{steps} steps", None, {"steps": steps}
        for interval in (2, 3):
            yield f"{steps} steps 1:{interval} order 1", uniform(steps, interval, cut).extrapolated(), {"steps": steps}
    for spacing in SPACINGS:
        yield f"{STEPS // 2} steps {spacing}", None, {"steps": STEPS // 2, "spacing": spacing}
        yield f"1:2 order 1 {spacing}", uniform(STEPS, 2, cut).extrapolated(), {"spacing": spacing}


def measure(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows of the table, cheapest last."""
    workload = Workload(load_pipeline("bundled"), steps=STEPS, seeds=tuple(range(arguments.seeds)), batch_size=32)
    evaluator, rows = Evaluator(workload), []
    for name, schedule, run in track(list(contenders(arguments.intervals, arguments.cut)), description="measuring"):
        found = evaluator.measure_fewer_steps(**run) if schedule is None else evaluator.measure(schedule, **run)
        psnr = mean_and_ci(found.psnr)
        words = f"{psnr.mean:.2f} [{psnr.ci95[0]:.2f}, {psnr.ci95[1]:.2f}]"
        rows.append({"name": name, "speedup": found.speedup, "psnr": words, "psnr_estimate": psnr.model_dump()})
    return sorted(rows, key=lambda row: float(row["speedup"]))


def parse_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search_space", description=__doc__)
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--intervals", nargs="+", type=int, default=[2, 3, 5])
    parser.add_argument("--cut", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write OUT.json and OUT.md")
    return parser.parse_args(words)


def main() -> None:
    """Measure, print, write."""
    arguments = parse_arguments()
    torch.set_num_threads(2)
    result: dict[str, Any] = {
        "command": command_line("benchmarks.search_space"),
        "environment": environment("diffusers"),
        "rows": measure(arguments),
    }
    text = (
        f"# What is worth searching\n\n`{result['command']}`\n\n{machine(result['environment'])}. The bundled model, "
        f"{arguments.seeds} seeds, 95% bootstrap intervals, against the uncached run of {STEPS} steps.\n\n"
        + markdown_table(result["rows"], COLUMNS)
    )
    print(text)
    if arguments.out:
        write_result(arguments.out, result, text)


if __name__ == "__main__":
    main()
