"""How many trials a minute a search makes, and what it spends besides generating images.

    python -m benchmarks.search_rate --out reports/results/benchmark-search-rate

The same study, baselines included, in memory and in an SQLite file. Prints a table, and with --out writes it as PATH.md
and all figures as PATH.json.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMPipeline, DDIMScheduler, UNet2DModel

from benchmarks.measuring import command_line, environment, markdown_table, write_result
from deepcadence.probe import Workload, load_pipeline
from deepcadence.search import StudyResult, run_study

COLUMNS = {
    "storage": ("storage", "s"),
    "trials": ("trials", "d"),
    "evaluations": ("of them run", "d"),
    "seconds": ("seconds", ".1f"),
    "trials_per_minute": ("trials a minute", ".1f"),
    "evaluations_per_minute": ("runs a minute", ".1f"),
    "generating": ("part spent generating", ".0%"),
    "cost": ("cost in plain generations", ".1f"),
}


def pipeline(model: str, device: str, dtype: str) -> Any:
    """The pipeline of that name; "random" is a U-Net of the bundled model's shape with random weights."""
    if model != "random":
        return load_pipeline(model, device=device, dtype=getattr(torch, dtype))
    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=32,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(32, 64, 128, 128),
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
    )
    pipe = DDIMPipeline(unet=unet.eval().to(getattr(torch, dtype)), scheduler=DDIMScheduler())
    return pipe.to(device)


def row(workload: Workload, name: str, storage: Path | None, trials: int) -> dict[str, Any]:
    """One study, timed from its first line to its last."""
    began = time.perf_counter()
    result = run_study(workload, storage=storage, trials=trials)
    seconds = time.perf_counter() - began
    return {
        "storage": name,
        "trials": len(result.trials),
        "evaluations": result.evaluations,
        "seconds": seconds,
        "trials_per_minute": 60 * len(result.trials) / seconds,
        "evaluations_per_minute": 60 * result.evaluations / seconds,
        "generating": generating(result) / seconds,
        "cost": result.search_cost,
    }


def generating(result: StudyResult) -> float:
    """Seconds that went into the images of the trials; those of the reference are not counted."""
    run = [trial for trial in result.trials if trial.reused_from is None]
    return sum(trial.seconds_per_sample for trial in run) * len(result.seeds)


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bundled", help="bundled, random (its shape), a folder or a hub id")
    parser.add_argument("--trials", type=int, default=40, help="search trials, on top of the baselines")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=8, help="samples in each trial")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--out", type=Path, help="write PATH.json and PATH.md")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    pipe = pipeline(arguments.model, arguments.device, arguments.dtype)
    workload = Workload(
        pipe, steps=arguments.steps, seeds=tuple(range(arguments.seeds)), batch_size=arguments.batch_size
    )
    workload.run(workload.seeds[:1], steps=2)  # the first calls of a process are slower
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            row(workload, "memory", None, arguments.trials),
            row(workload, "SQLite", Path(folder) / "study.db", arguments.trials),
        ]
    options = {key: value for key, value in vars(arguments).items() if key != "out"}
    command = command_line("benchmarks.search_rate")
    text = (
        f"Model {arguments.model}, {arguments.steps} steps, {arguments.seeds} seeds, {arguments.device}, "
        f"{arguments.dtype}, {arguments.threads} threads.\n\n{markdown_table(rows, COLUMNS)}\n"
        f"Made with `{command}`.\n"
    )
    print(text)
    if arguments.out is not None:
        result = {
            "command": command,
            "environment": environment("diffusers", "optuna", "torchmetrics"),
            "options": options,
            "rows": rows,
        }
        write_result(arguments.out, result, text)


if __name__ == "__main__":
    main()
