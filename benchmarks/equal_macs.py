"""The best of each kind of schedule at equal MACs, on seeds that no search saw.

For each target speed-up a study on the search seeds, with a budget of less than sixteen plain generations of them.
Then what costs no more than the target allows: the study's choice, the best uniform schedule over all cuts and the best
of the grid of (c, p), each with features held and extrapolated, and the most steps of the uncached sampler. The grid is
that of `samplers`: the few that are best on two seeds are run on all search seeds. Studies and grid are kept in --work
and --grid, and resumed. Prints a table, and with --out writes it as PATH.md, all figures as PATH.json and the plot as
PATH.svg.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import matplotlib.pyplot as plt
import torch
from rich.progress import Progress

from benchmarks.grid import CALLS, Point, bundled, measured_grid, shortlist
from benchmarks.measuring import command_line, environment, machine, markdown_table, write_result
from deepcadence.probe import Workload, load_pipeline
from deepcadence.search import (
    Candidate,
    Evaluator,
    Measurement,
    StudyResult,
    TrialRecord,
    held_out_seeds,
    mean_and_ci,
    paired_difference,
    run_study,
    select,
)
from deepcadence.search.baselines import fewer
from deepcadence.search.contenders import best_uniform, most_steps

CHOICE = "deepcadence"
SEARCH_COLUMNS = {"target": ("target", ".3g"), "cost": ("plain generations", ".1f"), "predictor": ("predictor", "s")}
REUSES: tuple[tuple[str, Literal[0, 1]], ...] = (("extrapolated", 1), ("held", 0))
CARRIED_OVER = "of the bundled model"
MARKERS = {
    CHOICE: "o",
    CARRIED_OVER: "P",
    "uniform, extrapolated": "s",
    "uniform, held": "D",
    "(c, p), extrapolated": "v",
    "(c, p), held": "^",
    "fewer steps": "x",
}
BUDGET = {"uniform": 4, "predicted": 6, "trials": 0}
SHORTLIST = 4
GRID_SAMPLES = 2
COLUMNS = {
    "target": ("target", ".3g"),
    "name": ("", "s"),
    "label": ("what ran", "s"),
    "speedup": ("MACs, times fewer", ".2f"),
    "psnr": ("PSNR, dB", "s"),
    "ssim": ("SSIM", "s"),
    "difference": ("deepcadence minus this, dB", "s"),
}


def study(workload: Workload, target: float, work: Path) -> StudyResult:
    """A few baselines and what the predictor proposes for the target; kept in `work`, resumed where it was stopped."""
    work.mkdir(parents=True, exist_ok=True)
    with Progress() as bars:
        tasks: dict[str, Any] = {}

        def show(phase: str, done: int, total: int) -> None:
            if phase not in tasks:
                tasks[phase] = bars.add_task(f"{target:g}x: {phase}")
            bars.update(tasks[phase], completed=done, total=total)

        return run_study(
            workload,
            storage=work / f"study-{target:g}.db",
            trials=BUDGET["trials"],
            max_uniform=BUDGET["uniform"],
            max_published=1,
            fewer_steps=(),
            max_predicted=BUDGET["predicted"],
            target_speedup=target,
            progress=show,
        )


def contenders(
    target: float,
    workload: Workload,
    result: StudyResult,
    evaluator: Evaluator,
    chosen: Candidate,
    table: Mapping[str, Point],
) -> dict[str, Candidate | None]:
    """What was chosen, and the best of each other kind whose mean MACs `target` allows; None if there is none.

    The best by quality on the search seeds. What is extrapolated takes whole steps, or such as the choice takes.
    """
    limit = evaluator.macs.full / target
    found: dict[str, Candidate | None] = {CHOICE: chosen}
    alphas = {1.0, chosen.alpha}
    for words, order in REUSES:
        found[f"uniform, {words}"] = best_uniform(workload, result, evaluator.macs, limit, order=order, alphas=alphas)
    judge = Evaluator(workload.replace(seeds=result.seeds), macs=evaluator.macs)
    for words, order in REUSES:
        best = {c.key: c for c in shortlist(table, target, order, SHORTLIST)}
        values = {key: float(judge.measure_candidate(each).psnr.mean()) for key, each in best.items()}
        found[f"(c, p), {words}"] = best[max(values, key=lambda key: values[key])] if values else None
    steps = most_steps(evaluator, limit)
    found["fewer steps"] = None if steps is None else fewer(steps)
    return found


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """All rows, and what the searches cost."""
    workload = Workload(
        load_pipeline("bundled"), steps=CALLS, seeds=tuple(range(arguments.search_seeds)), batch_size=32
    )
    table = measured_grid(functools.partial(bundled, "bundled", GRID_SAMPLES, "cpu"), arguments.grid)
    results = {target: study(workload, target, arguments.work) for target in arguments.targets}
    seeds = held_out_seeds(results[arguments.targets[0]], arguments.held_out)
    evaluator = Evaluator(workload.replace(seeds=seeds))
    found = {
        target: contenders(target, workload, result, evaluator, select(result, target_speedup=target), table)
        for target, result in results.items()
    }
    return {
        "held_out_samples": arguments.held_out,
        "search_seeds": arguments.search_seeds,
        "searches": costs(results),
        "rows": compare(found, evaluator),
    }


def costs(results: Mapping[float, StudyResult]) -> list[dict[str, Any]]:
    """What the study of each target cost, and how far its predictor was right."""
    return [
        {"target": target, "cost": result.search_cost, "predictor": result.predictor_words}
        for target, result in results.items()
    ]


def compare(found: dict[float, dict[str, Candidate | None]], evaluator: Evaluator) -> list[dict[str, Any]]:
    """The rows of the table: the contenders at each target, run on the evaluator's seeds."""
    measured: dict[str, Measurement] = {}
    rows = []
    with Progress() as bars:
        different = {c.key: c for each in found.values() for c in each.values() if c is not None}
        for candidate in bars.track(different.values(), description="held-out seeds"):
            measured[candidate.key] = evaluator.measure_candidate(candidate)
    for target, each in found.items():
        chosen = measured[each[CHOICE].key]  # type: ignore[union-attr]  # there always is a choice
        rows += [row(target, name, c, measured[c.key], chosen) for name, c in each.items() if c is not None]
    return rows


def row(target: float, name: str, what: Candidate, measured: Measurement, chosen: Measurement) -> dict[str, Any]:
    """One line of the table; intervals are 95% bootstrap ones, of the paired difference for the last column."""
    psnr, ssim = mean_and_ci(measured.psnr), mean_and_ci(measured.ssim)
    ahead = None if measured is chosen else paired_difference(chosen.psnr, measured.psnr)
    return {
        "target": target,
        "name": name,
        "label": describe(what),
        "calls": what.calls,
        "order": what.order,
        "alpha": what.alpha,
        "steps": what.steps,
        "speedup": measured.speedup,
        "psnr": f"{psnr.mean:.2f} [{psnr.ci95[0]:.2f}, {psnr.ci95[1]:.2f}]",
        "ssim": f"{ssim.mean:.4f} [{ssim.ci95[0]:.4f}, {ssim.ci95[1]:.4f}]",
        "difference": ahead and f"{ahead.mean:+.2f} [{ahead.ci95[0]:+.2f}, {ahead.ci95[1]:+.2f}]",
        "psnr_estimate": psnr.model_dump(),
        "ssim_estimate": ssim.model_dump(),
        "difference_estimate": ahead and ahead.model_dump(),
    }


def describe(what: Candidate) -> str:
    """The calls of a run, and where the network is cut."""
    if what.calls is None:
        return what.label
    cuts = ", ".join(map(str, sorted({call for call in what.calls if call != "full"})))
    reuse = f"order {what.order}" + (f" alpha {what.alpha:g}" if what.alpha != 1 else "") if what.order else "held"
    label = "" if isinstance(what, TrialRecord) and what.origin == "predicted" else f"{what.label.split(' order')[0]}: "
    return f"{label}{what.full_calls}+{what.partial_calls}, cut {cuts}, {reuse}"


def plot(result: dict[str, Any], path: Path) -> None:
    """PSNR with intervals against the MAC speed-up, a line per kind."""
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for name, marker in MARKERS.items():
        rows = sorted((r for r in result["rows"] if r["name"] == name), key=lambda r: r["speedup"])
        if not rows:
            continue
        means = [r["psnr_estimate"]["mean"] for r in rows]
        below = [mean - r["psnr_estimate"]["ci95"][0] for mean, r in zip(means, rows, strict=True)]
        above = [r["psnr_estimate"]["ci95"][1] - mean for mean, r in zip(means, rows, strict=True)]
        axes.errorbar([r["speedup"] for r in rows], means, (below, above), marker=marker, capsize=3, label=name)
    axes.set(xlabel="MACs of a run, times fewer", ylabel=f"PSNR, dB, {result['held_out_samples']} held-out samples")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path)
    plt.close(figure)


def markdown(result: dict[str, Any]) -> str:
    """The result for people."""
    return (
        f"# At equal MACs\n\n`{result['command']}`\n\n{machine(result['environment'])}. The bundled model, {CALLS} "
        f"DDIM steps, exact MACs, {result['held_out_samples']} held-out samples with 95% bootstrap intervals; "
        f"differences are paired. {SHORTLIST} schedules of the grid that were best on its {GRID_SAMPLES} seeds, and "
        f"the uniform ones, were judged on the {result['search_seeds']} search seeds.\n\n![PSNR against MACs]"
        f"({result['plot']})"
        f"\n\n{markdown_table(result['rows'], COLUMNS)}\nWhat the searches cost, all baselines included, in plain "
        f"generations of the search seeds:\n\n{markdown_table(result['searches'], SEARCH_COLUMNS)}"
    )


def parse_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.equal_macs", description=__doc__)
    parser.add_argument("--targets", nargs="+", type=float, default=[1.5, 2.0, 3.0, 4.0])
    parser.add_argument("--search-seeds", type=int, default=16)
    parser.add_argument("--held-out", type=int, default=256)
    parser.add_argument("--work", type=Path, default=Path("runs/equal-macs"), help="the studies")
    parser.add_argument("--grid", type=Path, default=Path(f"runs/samplers/grid-{GRID_SAMPLES}.jsonl"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="write OUT.json, OUT.md and OUT.svg")
    return parser.parse_args(words)


def finish(
    module: str, arguments: argparse.Namespace, measured: dict[str, Any], words: Callable[[dict[str, Any]], str]
) -> None:
    """Print a result, and write it with its plot if --out says where."""
    result = {
        "command": command_line(module),
        "environment": environment("diffusers", "optuna"),
        **measured,
        "plot": arguments.out.with_suffix(".svg").name if arguments.out else "",
    }
    text = words(result)
    print(text)
    if arguments.out:
        write_result(arguments.out, result, text)
        plot(result, arguments.out.with_suffix(".svg"))


def main() -> None:
    """Search, measure, print, write."""
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    finish("benchmarks.equal_macs", arguments, measure(arguments), markdown)


if __name__ == "__main__":
    main()
