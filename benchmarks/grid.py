"""A grid of schedules, measured once and kept: N, c, p and cut, features held or extrapolated along a line."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from rich.progress import track

from deepcadence.probe import Workload, load_pipeline
from deepcadence.schedules import nonuniform, write_atomically
from deepcadence.search import Candidate, Evaluator
from deepcadence.search.candidates import from_schedule

CALLS = 50
INTERVALS, CENTERS, POWERS = range(2, 11), range(0, CALLS, 7), (1.1, 1.5, 1.9, 2.3)
POWER_STEP = 0.4
CUTS: tuple[int, ...] = (0, 1, 2)
ORDERS: tuple[Literal[0, 1], ...] = (0, 1)

Point = tuple[float, float]  # PSNR in dB, and MACs as a part of a full run's
Line = tuple[str, float, list[float]]  # key, MACs as a part, PSNR per seed

_OF_PROCESS: list[Evaluator] = []  # one for each process that measures


def bundled(model: str, samples: int, device: str) -> Workload:
    """What the grid is measured on, unless it is another model: the first seeds."""
    return Workload(load_pipeline(model, device=device), steps=CALLS, seeds=tuple(range(samples)), batch_size=samples)


def candidate(interval: int, center: int, power: float, cut: int, order: Literal[0, 1]) -> Candidate:
    """A point of the grid."""
    schedule = nonuniform(CALLS, interval, cut, center, power)
    label = f"1:{interval} cut {cut} c={center} p={power:g}"
    return from_schedule(schedule, origin="nonuniform", label=label, steps=CALLS, order=order)


def grid() -> dict[str, Candidate]:
    """All schedules of the grid, by key; equal lists of calls are one schedule."""
    points = product(INTERVALS, CENTERS, POWERS, CUTS, ORDERS)
    return {each.key: each for each in (candidate(*point) for point in points)}


def measured_grid(make: Callable[[], Workload], file: Path, workers: int = 2) -> dict[str, Point]:
    """The value of each schedule of the grid, by key; what `file` holds is not measured again.

    Args:
        make: of what is run; called in each process, which has one thread.
        file: one measured schedule a line.
        workers: processes.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    known = {line[0]: line for line in _lines(file)}
    write_atomically(file, "".join(json.dumps(line) + "\n" for line in known.values()))  # without half a line
    todo = [each for key, each in grid().items() if key not in known]
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_prepare, initargs=(make,))
    with pool, file.open("a") as out:
        for line in track(pool.map(_measure, todo), "grid", total=len(todo)):
            known[line[0]] = line
            out.write(json.dumps(line) + "\n")
            out.flush()
    return {key: (float(np.mean(known[key][2])), known[key][1]) for key in grid()}


def shortlist(table: Mapping[str, Point], target: float, order: Literal[0, 1], count: int) -> list[Candidate]:
    """The schedules with the best quality of those with that reuse that save `target`."""
    fitting = [
        (table[key][0], each)
        for key, each in grid().items()
        if each.order == order and table[key][1] * target <= 1 + 1e-9
    ]
    return [each for _, each in sorted(fitting, key=lambda pair: -pair[0])[:count]]


def _prepare(make: Callable[[], Workload]) -> None:
    torch.set_num_threads(1)
    _OF_PROCESS[:] = [Evaluator(make(), share=True)]  # images are the same to the bit


def _measure(what: Candidate) -> Line:
    measured = _OF_PROCESS[0].measure_candidate(what)
    return what.key, 1 / measured.speedup, [round(float(value), 4) for value in measured.psnr]


def _lines(file: Path) -> Iterator[Line]:
    """What was written whole."""
    for line in file.read_text().splitlines(keepends=True) if file.exists() else ():
        if line.endswith("\n"):
            yield tuple(json.loads(line))
