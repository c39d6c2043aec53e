"""What the runtime itself takes: deciding, at each call, with the network left out; and attaching, with it.

The views of each model are replaced by ones that compute nothing, so that what is left is ours: finding the run,
telling the sides of guidance apart, comparing the arguments with those of the last full call, looking whether adapters
or blocks were changed, storing a feature, counting. Channels are few, since nothing is computed; modules are as many as
in the model that is named. Attaching is timed on a U-Net of Stable Diffusion 1.5's size: splitting it, the self-test at
a small size, replacing `forward`, and taking all that back.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import FluxTransformer2DModel, UNet2DConditionModel
from torch import nn

from benchmarks.measuring import command_line, environment, machine, markdown_table, write_result
from deepcadence.schedules import Views, apply, family_of, uniform
from deepcadence.schedules.dispatch import active, install, uninstall
from deepcadence.schedules.families.inputs import parameter_names
from deepcadence.schedules.guided import GuidedRun
from deepcadence.schedules.run import Plan

CALLS = 200
COLUMNS = {
    "model": ("model", "s"),
    "modules": ("modules", ",d"),
    "least": ("a call, µs: best round", ".0f"),
    "median": ("median", ".0f"),
}


class Nothing(Views):
    """Computes nothing."""

    def __init__(self, cuts: Iterable[int]) -> None:
        self._features = {cut: torch.zeros(1) for cut in cuts}

    def full(self, *_: Any, **__: Any) -> tuple[Any, dict[int, torch.Tensor]]:
        return None, dict(self._features)

    def partial(self, *_: Any, **__: Any) -> None:
        return None


def stable_diffusion() -> Any:
    """The modules of Stable Diffusion 1.5's U-Net."""
    return UNet2DConditionModel(
        sample_size=64,
        block_out_channels=(8, 16, 16, 16),
        norm_num_groups=4,
        cross_attention_dim=16,
        attention_head_dim=4,
    )


def stable_diffusion_xl() -> Any:
    """The modules of Stable Diffusion XL's U-Net."""
    return UNet2DConditionModel(
        sample_size=64,
        block_out_channels=(8, 16, 16),
        norm_num_groups=4,
        cross_attention_dim=16,
        attention_head_dim=(1, 2, 2),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=64,
        transformer_layers_per_block=(1, 2, 10),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    )


def flux() -> Any:
    """The modules of Flux's transformer."""
    return FluxTransformer2DModel(
        in_channels=4,
        num_layers=19,
        num_single_layers=38,
        attention_head_dim=16,
        num_attention_heads=1,
        joint_attention_dim=16,
        pooled_projection_dim=16,
        axes_dims_rope=(4, 6, 6),
    )


def with_lora(build: Callable[[], Any]) -> Any:
    """With an adapter in each projection of its attention."""
    from peft import LoraConfig

    model = build()
    model.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_k", "to_v", "to_out.0"]), "lora")
    return model


MODELS: dict[str, Callable[[], Any]] = {
    "Stable Diffusion 1.5": stable_diffusion,
    "Stable Diffusion XL": stable_diffusion_xl,
    "Flux": flux,
    "Stable Diffusion 1.5, LoRA": lambda: with_lora(stable_diffusion),
    "Stable Diffusion XL, LoRA": lambda: with_lora(stable_diffusion_xl),
}


@torch.no_grad()
def deciding(name: str, model: nn.Module, rounds: int) -> dict[str, Any]:
    """Time of a call under a schedule of one full call in five; the sample is another tensor each time."""
    family: Any = copy.copy(family_of(model))
    inputs = family.example_inputs(model, size=family.small_size(model))
    first, names = next(iter(inputs)), parameter_names(model)
    samples = [inputs.pop(first), torch.zeros(1)]
    samples[1] = samples[0].clone()
    family.views = lambda _, cuts: Nothing(cuts)
    plan = Plan(model, family, uniform(rounds * CALLS, 5, 1), "schedule", names)
    installation = install(model)
    times = []
    with active(model, GuidedRun(plan)):
        forward = model.forward
        for _ in range(rounds):
            began = time.perf_counter()
            for call in range(CALLS):
                forward(samples[call % 2], **inputs)
            times.append((time.perf_counter() - began) / CALLS * 1e6)
    uninstall(installation)
    modules = sum(1 for _ in model.modules())
    return {"model": name, "modules": modules, "least": min(times), "median": statistics.median(times)}


def attaching(rounds: int) -> list[float]:
    """Seconds to attach a schedule to Stable Diffusion 1.5's U-Net with random weights, and to detach it."""
    model = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8).eval()
    schedule, times = uniform(50, 5, 0), []
    for _ in range(rounds):
        began = time.perf_counter()
        apply(model, schedule).remove()
        times.append(time.perf_counter() - began)
    return times


def markdown(result: dict[str, Any]) -> str:
    """The result for people."""
    attach = result["attach"]
    return (
        f"# Deciding and attaching\n\n`{result['command']}`\n\n{machine(result['environment'])}. What the runtime "
        f"takes at a call, with the network left out: {result['rounds']} rounds of {CALLS} calls.\n\n"
        f"{markdown_table(result['rows'], COLUMNS)}\nTo attach a schedule to a U-Net of Stable Diffusion 1.5's size "
        f"with random weights, self-test included, and to detach it again: {statistics.median(attach):.2f} s, the "
        f"median of {len(attach)}; the first time {attach[0]:.2f} s.\n"
    )


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.deciding", description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write OUT.json and OUT.md")
    arguments = parser.parse_args(words)
    torch.set_num_threads(arguments.threads)
    result = {
        "command": command_line("benchmarks.deciding"),
        "environment": environment("diffusers", "peft"),
        "rounds": arguments.rounds,
        "rows": [deciding(name, build(), arguments.rounds) for name, build in MODELS.items()],
        "attach": attaching(5),
    }
    print(markdown(result))
    if arguments.out:
        write_result(arguments.out, result, markdown(result))


if __name__ == "__main__":
    main()
