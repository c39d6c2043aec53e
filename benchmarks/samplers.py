"""Which of Optuna's samplers finds most of the front, on a grid of schedules that is known in full.

Every schedule of a grid over N, c, p, cut and order of extrapolation is measured once on a few seeds; equal lists of
calls are one schedule. That is kept in --work, and resumed. Then each sampler searches the grid with the same budget,
its values looked up, and what counts is the hypervolume of what it found over that of the grid's whole front. Prints a
table, and with --out writes it as OUT.md, all figures as OUT.json and the plot as OUT.svg.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import matplotlib.pyplot as plt
import numpy as np
import optuna
import torch
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from rich.progress import track

from benchmarks.grid import (
    CENTERS,
    CUTS,
    INTERVALS,
    ORDERS,
    POWER_STEP,
    POWERS,
    Point,
    bundled,
    candidate,
    measured_grid,
)
from benchmarks.measuring import command_line, environment, machine, markdown_table, write_result
from deepcadence.reports._style import cut_look, figure_style
from deepcadence.search.storage import quiet

SAMPLERS: dict[str, Callable[[int, int], BaseSampler]] = {  # by seed and budget
    "TPE": lambda seed, _: TPESampler(seed=seed, n_startup_trials=10, constant_liar=True),
    "NSGA-II": lambda seed, budget: NSGAIISampler(seed=seed, population_size=max(4, budget // 5)),
    "GP": lambda seed, _: GPSampler(seed=seed, n_startup_trials=10, deterministic_objective=True),
    "random": lambda seed, _: RandomSampler(seed=seed),
}
COLUMNS = {
    "name": ("sampler", "s"),
    "half": ("share of the hypervolume after half of the trials", ".3f"),
    "mean": ("after all", ".3f"),
    "worst": ("worst seed", ".3f"),
    "best": ("best seed", ".3f"),
    "distinct": ("schedules run", ".1f"),
    "seconds": ("s to propose one", ".3f"),
}


def hypervolume(points: Sequence[Point], worst: float) -> float:
    """Area between the points' front and the corner of PSNR `worst` and the MACs of a full run, in dB."""
    area, best = 0.0, worst
    for psnr, cost in sorted(points, key=lambda point: (point[1], -point[0])):
        if psnr > best:
            area += (psnr - best) * (1.0 - cost)
            best = psnr
    return area


def play(make: Callable[[int, int], BaseSampler], seed: int, budget: int, table: dict[str, Point]) -> dict[str, Any]:
    """One search: the hypervolume after each trial, how many schedules differed, seconds per proposal."""
    found: list[str] = []

    def objective(trial: optuna.Trial) -> Point:
        interval = trial.suggest_int("interval", INTERVALS[0], INTERVALS[-1])
        center = trial.suggest_int("center", CENTERS[0], CENTERS[-1], step=CENTERS.step)
        power = round(trial.suggest_float("power", POWERS[0], POWERS[-1], step=POWER_STEP), 4)
        cut = trial.suggest_categorical("cut", CUTS)
        order = cast(Literal[0, 1], trial.suggest_categorical("order", ORDERS))
        found.append(candidate(interval, center, power, cut, order).key)
        return table[found[-1]]

    with quiet():
        study = optuna.create_study(directions=("maximize", "minimize"), sampler=make(seed, budget))
        began = time.perf_counter()
        study.optimize(objective, n_trials=budget)
        seconds = time.perf_counter() - began
    worst = min(psnr for psnr, _ in table.values())
    volumes = [hypervolume([table[key] for key in found[:count]], worst) for count in range(1, budget + 1)]
    return {"volumes": volumes, "distinct": len(set(found)), "seconds": seconds / budget}


def compare(arguments: argparse.Namespace, table: dict[str, Point]) -> list[dict[str, Any]]:
    """A row per sampler, with its curves: shares of the whole hypervolume, (seeds, trials)."""
    whole = hypervolume(list(table.values()), min(psnr for psnr, _ in table.values()))
    rows = []
    for name, make in SAMPLERS.items():
        runs = [
            play(make, seed, arguments.budget, table) for seed in track(range(arguments.seeds), description=f"{name:8}")
        ]
        curves = np.array([run["volumes"] for run in runs]) / whole
        last = curves[:, -1]
        rows.append(
            {
                "name": name,
                "half": float(curves[:, arguments.budget // 2 - 1].mean()),
                "mean": float(last.mean()),
                "worst": float(last.min()),
                "best": float(last.max()),
                "distinct": float(np.mean([run["distinct"] for run in runs])),
                "seconds": float(np.mean([run["seconds"] for run in runs])),
                "curves": curves.round(4).tolist(),
            }
        )
    return sorted(rows, key=lambda row: -row["mean"])


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """The share of the hypervolume after each trial: the mean over seeds, and their range."""
    with figure_style():
        figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
        for number, row in enumerate(rows):
            color, marker, dash = cut_look(number)
            curves = np.array(row["curves"])
            trials = np.arange(1, curves.shape[1] + 1)
            axes.fill_between(trials, curves.min(axis=0), curves.max(axis=0), color=color, alpha=0.12, linewidth=0)
            look: Any = {"color": color, "marker": marker, "markevery": 5, "markersize": 4}
            axes.plot(trials, curves.mean(axis=0), dash, label=row["name"], **look)
        axes.set(xlabel="trials", ylabel="share of the grid's hypervolume", ylim=(0.5, 1.005))
        axes.grid(visible=True)
        axes.legend(loc="lower right")
        figure.savefig(path, facecolor="white", metadata={"Date": None})
        plt.close(figure)


def markdown(result: dict[str, Any]) -> str:
    """The result for people."""
    return (
        f"# Samplers on a grid that is known\n\n`{result['command']}`\n\n{machine(result['environment'])}. The grid: N "
        f"from {INTERVALS[0]} to {INTERVALS[-1]}, c every {CENTERS.step} calls, p in "
        f"{', '.join(map(str, POWERS))}, cuts {', '.join(map(str, CUTS))}, features held or extrapolated along a line: "
        f"{result['points']} points, {result['schedules']} different schedules of 50 DDIM steps of the bundled "
        f"model, each with the mean PSNR over {result['samples']} seeds; {result['front']} of them are the front. "
        f"{result['budget']} trials, {result['seeds']} seeds of each sampler. Hypervolume is the area between the "
        "front and the corner of the grid's lowest PSNR and the MACs of a full run; 1 is that of the whole front.\n\n"
        f"![Hypervolume against trials]({result['plot']})\n\n{markdown_table(result['rows'], COLUMNS)}"
    )


def parse_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.samplers", description=__doc__)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--samples", type=int, default=2, help="seeds on which the grid is measured")
    parser.add_argument("--budget", type=int, default=60, help="trials of each search")
    parser.add_argument("--seeds", type=int, default=5, help="searches of each sampler")
    parser.add_argument("--workers", type=int, default=2, help="processes that measure the grid, of a thread each")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--work", type=Path, default=Path("runs/samplers"), help="the measured grid")
    parser.add_argument("--out", type=Path, help="write OUT.json, OUT.md and OUT.svg")
    return parser.parse_args(words)


def main() -> None:
    """Measure the grid, search it, print, write."""
    arguments = parse_arguments()
    make = functools.partial(bundled, arguments.model, arguments.samples, arguments.device)
    table = measured_grid(make, arguments.work / f"grid-{arguments.samples}.jsonl", arguments.workers)
    torch.set_num_threads(1)
    points = list(table.values())
    front = {a for a in points if not any(b[0] >= a[0] and b[1] <= a[1] and b != a for b in points)}
    result = {
        "command": command_line("benchmarks.samplers"),
        "environment": environment("diffusers", "optuna"),
        "points": len(INTERVALS) * len(CENTERS) * len(POWERS) * len(CUTS) * len(ORDERS),
        "schedules": len(table),
        "front": len(front),
        "samples": arguments.samples,
        "budget": arguments.budget,
        "seeds": arguments.seeds,
        "rows": compare(arguments, table),
        "plot": arguments.out.with_suffix(".svg").name if arguments.out else "",
    }
    text = markdown(result)
    print(text)
    if arguments.out:
        write_result(arguments.out, result, text)
        plot(result["rows"], arguments.out.with_suffix(".svg"))


if __name__ == "__main__":
    main()
