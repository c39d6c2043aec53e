"""Are the schedules that a predictor holds to be best the best? By its caution towards extrapolations, on two models.

For each model, target and caution: the best within the target that the predictor finds with features extrapolated, by
both strengths that a search tries. All of them are run, together with the best simple shapes. A row says what the first
choice of a caution was predicted to reach and reached, and how well predictions with it rank all that were run for the
target. The second model is that of `second_model`, if it was trained before; it is looked for in --work.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.progress import track
from scipy.stats import spearmanr

from benchmarks.grid import bundled
from benchmarks.measuring import command_line, environment, machine, markdown_table, write_result
from benchmarks.second_model import digits
from deepcadence.probe import Workload, measure_effects
from deepcadence.search import Candidate, Evaluator, Predictor, SearchSpace
from deepcadence.search.predicting import useful_cuts
from deepcadence.search.proposals import Proposals
from deepcadence.search.regular import regular

CAUTIONS = (0.0, 0.01, 0.03, 0.1, 0.3)
PROBED = 2
COLUMNS = {
    "model": ("model", "s"),
    "target": ("target", ".3g"),
    "caution": ("caution", "g"),
    "predicted": ("its first choice: predicted, dB", ".1f"),
    "measured": ("measured, dB", ".1f"),
    "spearman": ("Spearman", "+.2f"),
    "n": ("schedules", "d"),
}


def rows_of(name: str, workload: Workload, targets: Sequence[float]) -> list[dict[str, Any]]:
    """All rows of a model."""
    evaluator = Evaluator(workload, share=True)
    macs, cuts = evaluator.macs, useful_cuts(evaluator.macs, evaluator.macs.partial)
    effects = measure_effects(workload.replace(seeds=workload.seeds[:PROBED]), cuts, macs)
    space = SearchSpace.default(evaluator.num_calls, workload.steps, cuts)
    shapes = regular(space, cuts)
    plain = {alpha: Predictor(effects, macs, alpha=alpha) for alpha in space.alphas}
    predictors = {(c, alpha): each.cautious(c) for c in CAUTIONS for alpha, each in plain.items()}
    # by each predictor alone: what is best within the target, best first, and the simple shapes
    proposals = {key: Proposals(each, space.steps, 1, shapes, cautions=()) for key, each in predictors.items()}
    rows = []
    for target in targets:
        found = {key: each.within(target) for key, each in proposals.items()}
        different = {c.key: c for each in found.values() for c in each}
        values = {
            key: float(evaluator.measure_candidate(each).psnr.double().mean())
            for key, each in track(different.items(), f"{name}, {target:g}x")
        }
        for caution in CAUTIONS:
            said = {key: _predicted(each, predictors[caution, each.alpha]) for key, each in different.items()}
            first = max((found[caution, alpha][0] for alpha in space.alphas), key=lambda c: said[c.key])
            rank = float(spearmanr([said[key] for key in values], list(values.values())).statistic)
            rows.append(
                {"model": name, "target": target, "caution": caution, "predicted": said[first.key]}
                | {"measured": values[first.key], "spearman": rank, "n": len(values), "calls": first.calls}
            )
    return rows


def _predicted(candidate: Candidate, predictor: Predictor) -> float:
    return float(predictor.psnr(predictor.encode([candidate.calls or ()]))[0])


def markdown(result: Mapping[str, Any]) -> str:
    """The result for people."""
    return (
        f"# Caution\n\n`{result['command']}`\n\n{machine(result['environment'])}. PSNR to the uncached run, means over "
        f"{result['samples']} samples, {PROBED} of which the predictor was measured on; 50 DDIM steps.\n\n"
        f"{markdown_table(result['rows'], COLUMNS)}"
    )


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.caution", description=__doc__)
    parser.add_argument("--targets", nargs="+", type=float, default=[1.5, 2.0, 3.0, 4.0])
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--work", type=Path, default=Path("runs/second-model"), help="where the second model is")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="write OUT.json and OUT.md")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = rows_of("bundled", bundled("bundled", arguments.samples, "cpu"), arguments.targets)
    if (arguments.work / "pipeline").is_dir():
        rows += rows_of("second", digits(arguments.work / "pipeline", arguments.samples), arguments.targets)
    result = {
        "command": command_line("benchmarks.caution"),
        "environment": environment("diffusers"),
        "samples": arguments.samples,
        "rows": rows,
    }
    print(markdown(result))
    if arguments.out:
        write_result(arguments.out, result, markdown(result))


if __name__ == "__main__":
    main()
