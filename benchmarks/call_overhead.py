"""What the runtime adds to a call: a U-Net so small that nearly all of its time is Python, plain and attached.

The attached ones compute all that the plain one does: a schedule of full calls, and the DeepCache package at interval
1. What they take longer is the work of deciding and of holding features.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from DeepCache import DeepCacheSDHelper
from diffusers import UNet2DConditionModel

from benchmarks.measuring import command_line, environment, interleaved, machine, markdown_table, timed, write_result
from deepcadence.schedules import Schedule, apply

COLUMNS = {
    "contender": ("contender", ""),
    "microseconds": ("a call, µs", ".0f"),
    "added": ("added to a call, µs", ".0f"),
}


def build() -> UNet2DConditionModel:
    """The block structure of Stable Diffusion 1.5 with one layer a block, 8 channels and 8x8 latents."""
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=8,
        attention_head_dim=4,
    ).eval()


def attach_cached(model: UNet2DConditionModel, calls: int) -> Callable[[], None]:
    """Attach a schedule of full calls that all keep their feature; returns what detaches it."""
    # The last entry is partial and never reached: it makes each call before it one whose feature is wanted.
    return apply(model, Schedule(calls=(*["full"] * (calls + 1), 0))).remove


def attach_deepcache(model: UNet2DConditionModel, calls: int) -> Callable[[], None]:
    """Enable the DeepCache package at interval 1; returns what disables it."""
    scheduler = SimpleNamespace(timesteps=torch.arange(50).flip(0))
    helper = DeepCacheSDHelper(pipe=SimpleNamespace(unet=model, scheduler=scheduler))
    helper.set_params(cache_interval=1, cache_branch_id=0)
    helper.enable()

    def disable() -> None:
        helper.disable()
        for module in model.modules():  # which the package leaves behind
            module.__dict__.pop("forward", None)

    return disable


Attach = Callable[[UNet2DConditionModel, int], Callable[[], None]]
CONTENDERS: dict[str, Attach] = {
    "plain": lambda model, calls: lambda: None,
    "cached": attach_cached,
    "DeepCache": attach_deepcache,
}


@torch.no_grad()
def measure(rounds: int, calls: int) -> list[dict[str, Any]]:
    """Time of a call per contender, attached anew in each of `rounds` rounds for `calls` calls."""
    model = build()
    contenders = [(name, partial(median_call, model, attach, calls)) for name, attach in CONTENDERS.items()]
    rows = []
    seconds = interleaved(contenders, rounds)
    for name, mine in seconds.items():
        added = statistics.median(one - plain for one, plain in zip(mine, seconds["plain"], strict=True))
        rows.append(
            {
                "contender": name,
                "microseconds": statistics.median(mine) * 1e6,
                "added": None if name == "plain" else added * 1e6,
            }
        )
    return rows


def median_call(model: UNet2DConditionModel, attach: Attach, calls: int) -> float:
    """Seconds of the median call of one round; the first one is not timed."""
    inputs = (torch.randn(1, 4, 8, 8), torch.tensor(1), torch.randn(1, 4, 8))
    detach = attach(model, calls)
    model(*inputs)
    times = [timed(inputs[0].device, partial(model, *inputs))[0] for _ in range(calls)]
    detach()
    return statistics.median(times)


def parse_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.call_overhead", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--calls", type=int, default=50, help="timed calls a round")
    parser.add_argument("--out", type=Path, help="write OUT.json and OUT.md")
    return parser.parse_args(words)


def main() -> None:
    """Measure, print, write."""
    arguments = parse_arguments()
    torch.set_num_threads(1)
    rows = measure(arguments.rounds, arguments.calls)
    result: dict[str, Any] = {
        "command": command_line("benchmarks.call_overhead"),
        "environment": environment("diffusers", "DeepCache"),
    }
    text = (
        f"# What the runtime adds to a call\n\n`{result['command']}`\n\n{machine(result['environment'])}. Medians over "
        f"{arguments.rounds} rounds of the median of {arguments.calls} calls, what is added being taken within a "
        "round, of a U-Net with Stable Diffusion's blocks at 8 channels.\n\n" + markdown_table(rows, COLUMNS)
    )
    print(text)
    if arguments.out:
        write_result(arguments.out, {**result, "rows": rows}, text)


if __name__ == "__main__":
    main()
