"""The caching runtime against the plain model and the DeepCache package, on the same uniform schedules.

Two models: the bundled one, and a U-Net of Stable Diffusion 1.5's size with random weights and 32x32 latents.
Every contender denoises the same noise with DDIM through the same loop. Attaching and detaching are not timed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from DeepCache import DeepCacheSDHelper
from diffusers import DDIMScheduler, UNet2DConditionModel

from benchmarks.measuring import (
    command_line,
    environment,
    interleaved,
    keep_freed_memory,
    machine,
    markdown_table,
    median_ratio,
    timed,
    write_result,
)
from deepcadence.probe import count_macs, load_pipeline
from deepcadence.schedules import cached, uniform

CUTS = (0, 1, 3)
INTERVALS = (2, 3, 5)
COLUMNS = {
    "contender": ("contender", ""),
    "cut": ("cut", ""),
    "interval": ("1:N", ""),
    "seconds": ("seconds a run", ".3f"),
    "time_ratio": ("time / plain", ".3f"),
    "mac_speedup": ("MAC speed-up", ".2f"),
    "wall_speedup": ("wall speed-up", ".2f"),
    "wall_over_mac": ("wall / MAC", ".2f"),
    "bytes_held": ("bytes held", ",d"),
    "difference": ("largest difference to cached", ".2g"),
}


@dataclass
class Loop:
    """The least that looks like a pipeline: a U-Net, a scheduler, and a call that denoises."""

    unet: Any
    scheduler: Any
    noise: torch.Tensor
    conditions: dict[str, torch.Tensor] = field(default_factory=dict)

    @torch.no_grad()
    def __call__(self) -> torch.Tensor:
        sample = self.noise
        for timestep in self.scheduler.timesteps:
            output = self.unet(sample, timestep, **self.conditions).sample
            sample = self.scheduler.step(output, timestep, sample).prev_sample
        return sample


def bundled(arguments: argparse.Namespace) -> Loop:
    """The bundled model, 50 calls, a batch of 8."""
    pipeline: Any = load_pipeline("bundled", device=arguments.device, dtype=arguments.dtype)
    pipeline.scheduler.set_timesteps(10 if arguments.quick else 50)
    shape = (1 if arguments.quick else 8, pipeline.unet.config.in_channels, 32, 32)
    return Loop(pipeline.unet, pipeline.scheduler, _random(shape, arguments))


def sd15(arguments: argparse.Namespace) -> Loop:
    """Stable Diffusion 1.5's U-Net with random weights, 10 calls on one 32x32 latent, 77 text tokens."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(sample_size=32, cross_attention_dim=768, attention_head_dim=8)
    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1)
    scheduler.set_timesteps(6 if arguments.quick else 10)
    text = {"encoder_hidden_states": _random((1, 77, 768), arguments)}
    unet = unet.eval().to(arguments.device, arguments.dtype)
    return Loop(unet, scheduler, _random((1, 4, 32, 32), arguments), text)


MODELS: dict[str, Callable[[argparse.Namespace], Loop]] = {"bundled": bundled, "sd15-size": sd15}


def measure(loop: Loop, arguments: argparse.Namespace) -> dict[str, Any]:
    """All rows of one model, and what its calls cost."""
    height, width = loop.noise.shape[-2:]
    macs = count_macs(loop.unet, counter="exact", size=(height, width))
    rows: list[dict[str, Any]] = []
    timed(loop.noise.device, loop)  # warm up
    for cut in arguments.cuts:
        rows += measure_cut(loop, cut, macs, arguments)
    return {
        "parameters": sum(parameter.numel() for parameter in loop.unet.parameters()),
        "calls": len(loop.scheduler.timesteps),
        "sample_shape": list(loop.noise.shape),
        "dtype": str(loop.noise.dtype).removeprefix("torch."),
        "full_macs": macs.full,
        "partial_macs": {str(cut): macs.partial[cut] for cut in arguments.cuts},
        "rows": rows,
    }


def measure_cut(loop: Loop, cut: int, macs: Any, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Plain, and both caches at every interval, in interleaved rounds."""
    results: dict[tuple[str, int], tuple[torch.Tensor, int]] = {}

    def contender(name: str, run: Callable[..., tuple[float, torch.Tensor, int]], interval: int) -> Callable[[], float]:
        def once() -> float:
            seconds, output, held = run(loop, cut, interval)
            results[name, interval] = output, held
            return seconds

        return once

    contenders = [(("plain", 1), contender("plain", run_plain, 1))]
    for interval in arguments.intervals:
        contenders.append((("cached", interval), contender("cached", run_cached, interval)))
        contenders.append((("DeepCache", interval), contender("DeepCache", run_deepcache, interval)))
    seconds = interleaved(contenders, arguments.rounds)
    reference = seconds["plain", 1]
    rows = []
    for (name, interval), mine in seconds.items():
        output, held = results[name, interval]
        schedule = uniform(len(loop.scheduler.timesteps), interval, cut)
        mac_speedup = macs.full / schedule.mean_macs(macs.full, macs.partial)
        ratio = median_ratio(mine, reference)
        twin = results.get(("cached", interval))
        rows.append(
            {
                "contender": name,
                "cut": None if name == "plain" else cut,
                "interval": interval,
                "seconds": sorted(mine)[len(mine) // 2],
                "all_seconds": mine,
                "time_ratio": ratio,
                "mac_speedup": mac_speedup,
                "wall_speedup": 1 / ratio,
                "wall_over_mac": 1 / ratio / mac_speedup,
                "bytes_held": held,
                "difference": None if twin is None else float((output - twin[0]).abs().max()),
            }
        )
    return rows


def run_plain(loop: Loop, cut: int, interval: int) -> tuple[float, torch.Tensor, int]:
    """Seconds, result, bytes held of the model as it is."""
    return (*timed(loop.noise.device, loop), 0)


def run_cached(loop: Loop, cut: int, interval: int) -> tuple[float, torch.Tensor, int]:
    """The same with a schedule attached."""
    with cached(loop, uniform(len(loop.scheduler.timesteps), interval, cut)) as run:
        seconds, output = timed(loop.noise.device, loop)
    return seconds, output, run.stats.bytes_held


def run_deepcache(loop: Loop, cut: int, interval: int) -> tuple[float, torch.Tensor, int]:
    """The same with the DeepCache package enabled."""
    helper = DeepCacheSDHelper(pipe=loop)
    helper.set_params(cache_interval=interval, cache_branch_id=branch_id(loop.unet, cut))
    helper.enable()
    try:
        seconds, output = timed(loop.noise.device, loop)
        storages = {
            tensor.untyped_storage().data_ptr(): tensor.untyped_storage() for tensor in tensors(helper.cached_output)
        }
        return seconds, output, sum(storage.nbytes() for storage in storages.values())
    finally:
        helper.disable()
        for module in loop.unet.modules():  # which the package leaves behind
            module.__dict__.pop("forward", None)


def branch_id(unet: Any, cut: int) -> int:
    """The `cache_branch_id` that splits where `cut` does.

    The package takes three skips a block for granted; a block with one layer has two.
    """
    block, layer = divmod(cut, unet.config.layers_per_block + 1)
    return int(3 * block + layer)


def tensors(value: Any) -> Iterator[torch.Tensor]:
    """All tensors inside containers and model outputs."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors(item)


def _random(shape: tuple[int, ...], arguments: argparse.Namespace) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator).to(arguments.device, arguments.dtype)


def markdown(result: dict[str, Any]) -> str:
    """The result for people."""
    parts = [
        "# The runtime: cached, plain, DeepCache",
        f"`{result['command']}`",
        f"{machine(result['environment'])}. Median over {result['rounds']} interleaved rounds of the ratio to the "
        "plain run of the same round.",
    ]
    for name, model in result["models"].items():
        parts.append(
            f"## {name}\n\n{model['calls']} calls, input {model['sample_shape']}, {model['dtype']}, "
            f"{model['full_macs'] / 1e9:.4g} GMACs a full call and sample."
        )
        parts.append(markdown_table(model["rows"], COLUMNS).strip())
    return "\n\n".join(parts) + "\n"


def parse_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.runtime", description=__doc__)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--cuts", nargs="+", type=int, default=list(CUTS))
    parser.add_argument("--intervals", nargs="+", type=int, default=list(INTERVALS))
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds, of which the median counts")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--dtype", type=lambda name: getattr(torch, name), default=torch.float32)
    parser.add_argument("--quick", action="store_true", help="one round of few calls: does it run?")
    parser.add_argument("--out", type=Path, help="write OUT.json and OUT.md")
    arguments = parser.parse_args(words)
    if arguments.quick:
        arguments.rounds = 1
    return arguments


def main() -> None:
    """Measure, print, write."""
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    kept = keep_freed_memory()
    result = {
        "command": command_line("benchmarks.runtime"),
        "environment": environment("diffusers", "DeepCache"),
        "rounds": arguments.rounds,
        "freed_memory_kept": kept,
        "models": {name: measure(MODELS[name](arguments), arguments) for name in arguments.models},
    }
    text = markdown(result)
    print(text)
    if arguments.out:
        write_result(arguments.out, result, text)


if __name__ == "__main__":
    main()
