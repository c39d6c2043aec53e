"""The best of each kind of schedule at equal MACs, on seeds that no search saw.

One study on the search seeds, then at each target speed-up what costs no more than the target allows: the search's
choice, the best uniform schedule over all cuts (features held, and extrapolated), the best of the published (c, p)
family with features held, and the most steps of the uncached sampler. The study is kept in --work and resumed.
Prints a table, and with --out writes it as PATH.md, all figures as PATH.json and the plot as PATH.svg.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from rich.progress import Progress

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
from deepcadence.search.contenders import best_uniform, most_steps

CHOICE = "deepcadence"
MARKERS = {CHOICE: "o", "uniform, extrapolated": "s", "uniform, held": "D", "(c, p), held": "^", "fewer steps": "x"}
COLUMNS = {
    "target": ("target", ".3g"),
    "name": ("", "s"),
    "label": ("what ran", "s"),
    "speedup": ("MACs, times fewer", ".2f"),
    "psnr": ("PSNR, dB", "s"),
    "ssim": ("SSIM", "s"),
    "difference": ("deepcadence minus this, dB", "s"),
}


def study(workload: Workload, arguments: argparse.Namespace) -> StudyResult:
    """Baselines, predicted schedules and the search in (c, p); resumed where it was stopped."""
    arguments.work.mkdir(parents=True, exist_ok=True)
    with Progress() as bars:
        tasks: dict[str, Any] = {}

        def show(phase: str, done: int, total: int) -> None:
            tasks.setdefault(phase, bars.add_task(phase))
            bars.update(tasks[phase], completed=done, total=total)

        return run_study(
            workload,
            storage=arguments.work / "study.db",
            trials=arguments.trials,
            max_predicted=arguments.predicted,
            racing=False,  # the family in (c, p) is compared as well, so all of it is measured
            progress=show,
        )


def contenders(
    target: float, workload: Workload, result: StudyResult, evaluator: Evaluator, chosen: Candidate
) -> dict[str, Candidate | None]:
    """What was chosen, and the best of each other kind whose mean MACs `target` allows; None if there is none.

    The best by quality on the search seeds; extrapolated as far as the choice is, if it is.
    """
    limit = evaluator.macs.full / target
    family = [t for t in result.trials if t.origin in ("published", "nonuniform") and not t.order]
    fitting = [trial for trial in family if trial.speedup >= target]
    steps = most_steps(evaluator, limit)
    fewer = None if steps is None else Candidate(origin="fewer_steps", label=f"{steps} steps", calls=None, steps=steps)
    return {
        CHOICE: chosen,
        "uniform, extrapolated": best_uniform(workload, result, evaluator.macs, limit, order=1, alpha=chosen.alpha),
        "uniform, held": best_uniform(workload, result, evaluator.macs, limit),
        "(c, p), held": max(fitting, key=result.quality, default=None),
        "fewer steps": fewer,
    }


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """All rows, and what the search cost."""
    pipeline = load_pipeline(arguments.model)
    workload = Workload(pipeline, steps=50, seeds=tuple(range(arguments.search_seeds)), batch_size=32)
    result = study(workload, arguments)
    evaluator = Evaluator(workload.replace(seeds=held_out_seeds(result, arguments.held_out)))
    found = {
        target: contenders(target, workload, result, evaluator, select(result, target_speedup=target))
        for target in arguments.targets
    }
    return {
        "held_out_samples": arguments.held_out,
        "search_seeds": arguments.search_seeds,
        "search_cost": result.search_cost,
        "predictor": result.predictor_words,
        "rows": compare(found, evaluator),
    }


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
        f"# At equal MACs\n\n`{result['command']}`\n\n{machine(result['environment'])}. The bundled model, 50 DDIM "
        f"steps, exact MACs, {result['held_out_samples']} held-out samples with 95% bootstrap intervals; differences "
        f"are paired. The search took {result['search_cost']:.1f} plain generations of its {result['search_seeds']} "
        f"seeds, all baselines included. Predictor: {result['predictor']}\n\n![PSNR against MACs]({result['plot']})\n\n"
        + markdown_table(result["rows"], COLUMNS)
    )


def parse_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.equal_macs", description=__doc__)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--targets", nargs="+", type=float, default=[1.5, 2.0, 3.0, 4.0])
    parser.add_argument("--search-seeds", type=int, default=16)
    parser.add_argument("--held-out", type=int, default=256)
    parser.add_argument("--predicted", type=int, default=48)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--work", type=Path, default=Path("runs/equal-macs"), help="the study")
    parser.add_argument("--out", type=Path, help="write OUT.json, OUT.md and OUT.svg")
    return parser.parse_args(words)


def main() -> None:
    """Search, measure, print, write."""
    arguments = parse_arguments()
    torch.set_num_threads(2)
    result = {
        "command": command_line("benchmarks.equal_macs"),
        "environment": environment("diffusers", "optuna"),
        **measure(arguments),
        "plot": arguments.out.with_suffix(".svg").name if arguments.out else "",
    }
    text = markdown(result)
    print(text)
    if arguments.out:
        write_result(arguments.out, result, text)
        plot(result, arguments.out.with_suffix(".svg"))


if __name__ == "__main__":
    main()
