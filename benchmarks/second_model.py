"""The same on another model: another architecture, and other data. Do the search's settings hold, do schedules?

Trains a small class-conditional diffusion transformer on handwritten digits (8x8 pixels, enlarged to 16x16, from
scikit-learn), in --work, where it is resumed; then makes the table of `equal_macs` for it. The search has the settings
and the budget that were chosen on the bundled model. Beside it stands what it found there: full calls, cuts by number
(the outermost stays the outermost) and reuse are those that --settings, a result of `equal_macs`, names for each
target. That saves what it saves here. Prints a table, and with --out writes PATH.md, .json and .svg.
"""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, DiffusionPipeline, DiTTransformer2DModel, ImagePipelineOutput
from torch import nn

from benchmarks.equal_macs import (
    CARRIED_OVER,
    CHOICE,
    COLUMNS,
    SEARCH_COLUMNS,
    compare,
    contenders,
    costs,
    finish,
    study,
)
from benchmarks.grid import CALLS, measured_grid
from benchmarks.measuring import machine, markdown_table
from deepcadence.probe import Workload
from deepcadence.probe.bundled.train import Subject, build_scheduler, train
from deepcadence.schedules import denoiser, family_of
from deepcadence.search import Candidate, Evaluator, held_out_seeds, select

SIZE = 16
CLASSES = 10
BLOCKS = 12


class DigitPipeline(DiffusionPipeline):  # type: ignore[misc]
    """Digits from a transformer in pixel space; of all classes in turn, unless labels are given."""

    def __init__(self, transformer: DiTTransformer2DModel, scheduler: DDIMScheduler) -> None:
        super().__init__()
        self.register_modules(transformer=transformer, scheduler=scheduler)

    @torch.no_grad()
    def __call__(
        self,
        batch_size: int = 1,
        class_labels: Sequence[int] | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        num_inference_steps: int = 50,
        output_type: str = "pil",
    ) -> ImagePipelineOutput:
        count = batch_size if class_labels is None else len(class_labels)
        labels = torch.tensor([number % CLASSES for number in range(count)] if class_labels is None else class_labels)
        own = generator if isinstance(generator, list) else [generator] * count
        x = torch.cat([torch.randn(1, 1, SIZE, SIZE, generator=each) for each in own])
        self.scheduler.set_timesteps(num_inference_steps)
        for time in self.progress_bar(self.scheduler.timesteps):
            velocity = self.transformer(x, time.expand(count), class_labels=labels).sample
            x = self.scheduler.step(velocity, time, x).prev_sample
        images = (x / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
        return ImagePipelineOutput(images=self.numpy_to_pil(images) if output_type == "pil" else images)


def load_digits(_: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """The 1,797 digits of scikit-learn (Alpaydin and Kaynak 1998, CC BY 4.0), (images, 8, 8), and what they show."""
    try:
        from sklearn import datasets
    except ImportError as error:
        raise SystemExit("the digits come with scikit-learn; install it with: pip install scikit-learn") from error
    found = datasets.load_digits()
    return (torch.tensor(found.images) * 255 / 16).to(torch.uint8), torch.tensor(found.target)


def to_model_range(images: torch.Tensor) -> torch.Tensor:
    """uint8 (n, 8, 8) to float32 (n, 1, 16, 16) in [-1, 1]."""
    floats = images.to(torch.float32)[:, None] / 127.5 - 1
    return nn.functional.interpolate(floats, size=(SIZE, SIZE), mode="bilinear")


def build_model() -> DiTTransformer2DModel:
    """12 blocks of width 64 on 8x8 patches of 2x2 pixels: 1.2 M parameters, 5 cuts."""
    return DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=32,
        in_channels=1,
        num_layers=BLOCKS,
        sample_size=SIZE,
        patch_size=2,
        num_embeds_ada_norm=CLASSES,
    )


SUBJECT = Subject(
    load=load_digits,
    to_model_range=to_model_range,
    build_model=build_model,
    build_pipeline=lambda model: DigitPipeline(model, build_scheduler()),
    first_and_last=("pos_embed", "proj_out", *(f"transformer_blocks.{block}.norm1.emb" for block in range(BLOCKS))),
)


def carried_over(settings: Path, workload: Workload, num_calls: int) -> dict[float, Candidate]:
    """What a search chose on the bundled model for each target, cuts by number, for this one, which may have fewer."""
    model = denoiser(workload.pipeline)
    innermost = max(family_of(model).cuts(model))
    rows = [row for row in json.loads(settings.read_text())["rows"] if row["name"] == CHOICE]
    found = {
        row["target"]: Candidate(
            origin="nonuniform",
            label=f"as chosen there for {row['target']:g}x",
            calls=tuple(call if call == "full" else min(call, innermost) for call in row["calls"]),
            steps=workload.steps,
            order=row["order"],
            alpha=row.get("alpha", 1.0),
        )
        for row in rows
    }
    if not found or any(len(candidate.calls or ()) != num_calls for candidate in found.values()):
        raise SystemExit(
            f"{settings} has no rows of {CHOICE!r} with {num_calls} calls; expected a result of equal_macs"
        )
    return found


def digits(pipeline: Path, samples: int) -> Workload:
    """The first seeds."""
    return Workload(
        DigitPipeline.from_pretrained(pipeline),
        steps=CALLS,
        seeds=tuple(range(samples)),
        call_kwargs={"class_labels": list(range(CLASSES))},
        batch_size=32,
    )


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """All rows."""
    workload = digits(arguments.work / "pipeline", arguments.search_seeds)
    grid = measured_grid(functools.partial(digits, arguments.work / "pipeline", 10), arguments.work / "grid.jsonl")
    results = {target: study(workload, target, arguments.work) for target in arguments.targets}
    evaluator = Evaluator(workload.replace(seeds=held_out_seeds(results[arguments.targets[0]], arguments.held_out)))
    over = carried_over(arguments.settings, workload, evaluator.num_calls)
    found = {}
    for target, result in results.items():
        chosen = select(result, target_speedup=target)
        found[target] = contenders(target, workload, result, evaluator, chosen, grid) | {CARRIED_OVER: over.get(target)}
    return {
        "settings": str(arguments.settings),
        "images_seen": arguments.images,
        "full_macs": evaluator.macs.full,
        "held_out_samples": arguments.held_out,
        "search_seeds": arguments.search_seeds,
        "searches": costs(results),
        "rows": compare(found, evaluator),
    }


def markdown(result: dict[str, Any]) -> str:
    """The result for people."""
    return (
        f"# On a second model\n\n`{result['command']}`\n\n{machine(result['environment'])}. A class-conditional DiT of "
        f"digits, {result['full_macs'] / 1e9:.3f} GMACs a call, trained on {result['images_seen']:,} images, 50 DDIM "
        f"steps. The search has the settings and the budget that it had on the bundled model; uniform schedules and "
        f"(c, p) chose on the same {result['search_seeds']} seeds, within the same MACs. What is called {CARRIED_OVER} "
        f"was searched there (`{result['settings']}`) and saves what it saves here. {result['held_out_samples']} "
        f"held-out samples with 95% bootstrap intervals; differences are paired.\n\n![PSNR against MACs]"
        f"({result['plot']})\n\n{markdown_table(result['rows'], COLUMNS)}\nWhat the searches cost, all baselines "
        f"included, in plain generations of the search seeds:\n\n"
        f"{markdown_table(result['searches'], SEARCH_COLUMNS)}"
    )


def parse_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.second_model", description=__doc__)
    parser.add_argument("--images", type=int, default=100_000, help="images to see in training, resumed ones included")
    parser.add_argument("--targets", nargs="+", type=float, default=[1.5, 2.0, 3.0])
    parser.add_argument("--settings", type=Path, default=Path("reports/results/benchmark-equal-macs.json"))
    parser.add_argument("--search-seeds", type=int, default=16)
    parser.add_argument("--held-out", type=int, default=256)
    parser.add_argument("--work", type=Path, default=Path("runs/second-model"), help="checkpoint, model, study")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="write OUT.json, OUT.md and OUT.svg")
    return parser.parse_args(words)


def main() -> None:
    """Train, measure, print, write."""
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    learning = {"batch": 64, "learning_rate": 1e-3, "ema": 0.999, "seed": 0, "device": "cpu"}
    saving = {"data": Path(), "out": arguments.work, "save_every": 250, "preview_every": 1000}
    train(argparse.Namespace(images=arguments.images, **learning, **saving), SUBJECT)
    finish("benchmarks.second_model", arguments, measure(arguments), markdown)


if __name__ == "__main__":
    main()
