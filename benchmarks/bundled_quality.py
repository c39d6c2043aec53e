"""FID and KID of the bundled model against its training data.

Resumable, in chunks of 500, one file each: samples as uint8 images, then Inception features, then
torchmetrics. On two cores let one process make the samples (`--only samples`) while another does the
rest, `--only real` first. The extractor is a TorchScript file of the Inception network that FID
is defined with; it takes (n, 3, 299, 299) in [-1, 1] and gives (n, 2048).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch._inductor.config as inductor
from rich.progress import track
from safetensors.torch import load_file, save_file
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from benchmarks.measuring import command_line, environment, markdown_table, write_result
from deepcadence.probe import Workload, load_pipeline
from deepcadence.probe.bundled.data import load_images, to_model_range
from deepcadence.search import load_extractor

CHUNK = 500
SIDE = 299


def sample(arguments: argparse.Namespace) -> torch.Tensor:
    """The samples of seeds 0, 1, ... as uint8 (n, 1, 32, 32)."""
    pipeline = load_pipeline(arguments.model)
    inductor.freezing = True
    pipeline.unet = torch.compile(pipeline.unet.to(memory_format=torch.channels_last))
    workload = Workload(pipeline, steps=arguments.steps, batch_size=100)

    def chunk(index: int) -> torch.Tensor:
        seeds = range(index * CHUNK, (index + 1) * CHUNK)
        with torch.autocast("cpu", torch.bfloat16):
            images = torch.cat([workload.run(batch) for batch in workload.replace(seeds=tuple(seeds)).batches()])
        return (images * 255).round().to(torch.uint8)

    return in_chunks(arguments.work / "samples", arguments.samples // CHUNK, chunk, "sampling")


def real(arguments: argparse.Namespace) -> torch.Tensor:
    """Images of the data, drawn with a fixed seed, padded as the model sees them, uint8 (n, 1, 32, 32)."""
    images = load_images(arguments.data)
    chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[: arguments.samples]
    return ((to_model_range(images[chosen]) + 1) * 127.5).round().to(torch.uint8)


def features(images: torch.Tensor, extractor: nn.Module, folder: Path) -> torch.Tensor:
    """Inception features (n, 2048) of uint8 images (n, 1, height, width)."""

    @torch.no_grad()
    def chunk(index: int) -> torch.Tensor:
        parts = []
        for batch in torch.split(images[index * CHUNK : (index + 1) * CHUNK], 50):
            signed = batch.float().expand(-1, 3, -1, -1) / 127.5 - 1
            resized = nn.functional.interpolate(signed, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
            parts.append(extractor(resized))
        return torch.cat(parts)

    return in_chunks(folder, len(images) // CHUNK, chunk, f"features, {folder.name}")


def in_chunks(folder: Path, count: int, make: Callable[[int], torch.Tensor], what: str) -> torch.Tensor:
    """Chunks 0 to `count`, from their files where they are there."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for index in track(range(count), description=what):
        file = folder / f"{index:04d}.safetensors"
        if not file.exists():
            temporary = file.with_suffix(".tmp")
            save_file({"data": make(index)}, temporary)
            temporary.replace(file)
        parts.append(load_file(file)["data"])
    return torch.cat(parts)


class Given(nn.Module):
    """torchmetrics' `feature` for features that are there already."""

    num_features = 2048

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        return given


def score(truth: torch.Tensor, made: torch.Tensor) -> dict[str, Any]:
    """FID, and KID with its standard deviation over 100 subsets of 1000."""
    fid, kid = FrechetInceptionDistance(feature=Given()), KernelInceptionDistance(feature=Given(), subset_size=1000)
    for metric in (fid, kid):
        metric.update(truth, real=True)
        metric.update(made, real=False)
    torch.manual_seed(0)
    mean, spread = kid.compute()
    return {"fid": float(fid.compute()), "kid": float(mean), "kid_std": float(spread)}


def main() -> None:
    """Sample, score, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bundled_quality", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with Fashion-MNIST")
    parser.add_argument("--extractor", type=Path, required=True, help="TorchScript Inception network")
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--work", type=Path, default=Path("runs/bundled-quality"), help="samples and features")
    parser.add_argument("--only", choices=("samples", "real"), help="make these files and stop")
    parser.add_argument("--out", type=Path, help="write OUT.json and OUT.md")
    arguments = parser.parse_args()
    if arguments.only == "samples":
        sample(arguments)
        return
    extractor = load_extractor(arguments.extractor)
    truth = features(real(arguments), extractor, arguments.work / "real")
    if arguments.only == "real":
        return
    made = features(sample(arguments), extractor, arguments.work / "generated")
    result = {
        "command": command_line("benchmarks.bundled_quality"),
        "environment": environment("diffusers", "torchmetrics"),
        "samples": arguments.samples,
        "steps": arguments.steps,
        "precision": "bfloat16 autocast",
        "extractor": arguments.extractor.name,
        "model": score(truth, made),
        # Half of the real images against the other half: what these metrics give for a perfect model
        # at half the sample size.
        "real_halves": score(truth[: len(truth) // 2], truth[len(truth) // 2 :]),
    }
    columns = {"set": ("against the data", ""), "fid": ("FID", ".2f"), "kid": ("KID", ".5f"), "kid_std": ("std", ".5f")}
    rows = [{"set": f"{arguments.samples} samples, {arguments.steps} DDIM steps", **result["model"]}]
    rows.append({"set": "half of the real images, against the other half", **result["real_halves"]})
    table = markdown_table(rows, columns)
    print(table)
    if arguments.out:
        write_result(arguments.out, result, f"`{result['command']}`\n\n{table}")


if __name__ == "__main__":
    main()
