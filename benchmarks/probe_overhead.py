"""What recording adds to a run: a Stable Diffusion 1.5-sized U-Net, plain and recorded, turn about.

    python benchmarks/probe_overhead.py --out reports/results/probe_overhead

Weights are random and latents 32x32, so that it fits in memory; costs do not depend on the values. Prints a table, and
with --out writes it as PATH.md and all figures as PATH.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel

from deepcadence.probe import Recording, compare
from deepcadence.probe._called import answering
from deepcadence.probe.projection import projection_info
from deepcadence.schedules.families import family_of

PLAIN, HELD, PROJECTED = "plain", "recorded, all features held", "recorded, projected to 4096"


def build(device: str, dtype: torch.dtype) -> UNet2DConditionModel:
    """The U-Net of Stable Diffusion 1.5; weights are drawn in place, which is quicker than torch's initialization."""
    with torch.device("meta"):
        model = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
    model = model.to_empty(device=device).to(dtype).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.02)
    return model


def seconds(device: str, run: Callable[[], Any]) -> tuple[float, float]:
    """Wall time and this process's CPU time of `run()`, the device's work included."""
    if device == "cuda":
        torch.cuda.synchronize()
    began, worked = time.perf_counter(), time.process_time()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began, time.process_time() - worked


def compare_all(recording: Recording) -> None:
    """All pairs of calls, at every cut."""
    for features in recording.features.values():
        compare(features)


@torch.no_grad()
def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Time calls of each kind turn about, and the comparison of what was recorded."""
    device = arguments.device
    model = build(device, getattr(torch, arguments.dtype))
    inputs = family_of(model).example_inputs(model, batch=2, size=(arguments.size, arguments.size))
    call = partial(model, **inputs)
    call()
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in (PLAIN, HELD, PROJECTED)}
    comparing = []
    for _ in range(arguments.rounds):
        recordings = {HELD: Recording(model), PROJECTED: Recording(model, projection=projection_info(4096))}
        recorded = recordings[HELD]
        for _ in range(arguments.calls):
            times[PLAIN].append(seconds(device, call))
            for name, recording in recordings.items():
                with answering(model, recording):
                    times[name].append(seconds(device, call))
        for features in recorded.features.values():  # as many as in a run; what they hold does not matter
            first = features[0]
            features += [torch.randn_like(first) for _ in range(arguments.compared - len(features))]
        comparing.append(seconds(device, partial(compare_all, recorded)))
    return {
        "wall": {name: [wall for wall, _ in values] for name, values in times.items()},
        "cpu": {name: [cpu for _, cpu in values] for name, values in times.items()},
        "compare": {"wall": [wall for wall, _ in comparing], "cpu": [cpu for _, cpu in comparing]},
        "calls": arguments.calls,
        "compared_calls": arguments.compared,
        "rounds": arguments.rounds,
        "latent_size": arguments.size,
        "batch": 2,
        "device": torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine(),
        "dtype": arguments.dtype,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def table(result: dict[str, Any]) -> str:
    """The medians as Markdown."""
    where = f"{result['device']}, {result['threads']} threads, {result['dtype']}, torch {result['torch']}"
    size, calls = result["latent_size"], result["compared_calls"]
    lines = [f"SD 1.5-sized U-Net, {size}x{size} latents, batch 2 (guidance), 12 cuts; {where}", ""]
    lines += ["| a call | wall, s | over plain | CPU, s | over plain |", "|---|---|---|---|---|"]
    plain = {kind: statistics.median(result[kind][PLAIN]) for kind in ("wall", "cpu")}
    rows = {name: {kind: statistics.median(result[kind][name]) for kind in plain} for name in result["wall"]}
    rows[f"comparing all pairs of {calls} calls, a call"] = {
        kind: statistics.median(result["compare"][kind]) / calls for kind in plain
    }
    for name, row in rows.items():
        added = {kind: row[kind] / plain[kind] - (name in result["wall"]) for kind in plain}
        lines.append(f"| {name} | {row['wall']:.3f} | {added['wall']:+.1%} | {row['cpu']:.3f} | {added['cpu']:+.1%} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=4, help="calls in a run")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each kind")
    parser.add_argument("--compared", type=int, default=50, help="calls whose features are compared")
    parser.add_argument("--size", type=int, default=32, help="height and width of the latents")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--out", type=Path, help="write PATH.json and PATH.md")
    arguments = parser.parse_args()
    result = measure(arguments)
    text = table(result)
    print(json.dumps(result, indent=2, sort_keys=True))
    print(text)
    if arguments.out is not None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.with_suffix(".json").write_text(json.dumps(result, indent=2, sort_keys=True) + "\n")
        arguments.out.with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()
