"""A workload: which pipeline to run, on what, and how to get the same images again."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import torch

from deepcadence.probe._arguments import arguments, lacking_picture
from deepcadence.probe._trace import Trace, trace
from deepcadence.probe.errors import WorkloadError
from deepcadence.schedules import DeepcadenceError

__all__ = ["Workload", "noise_of"]


def noise_of(seed: int) -> int:
    """Equal for two seeds that give the same noise: of a seed, torch's generator on the CPU takes the lower 32 bits."""
    return seed % 2**32


@dataclass(frozen=True)
class Workload:
    """What to run.

    Seed s always gives the same noise and the same prompt, `prompts[s % len(prompts)]`, whatever batch it is in. The
    images agree to rounding: libraries choose other kernels for other batch sizes. The exception: where a sampler takes
    noise at each step and the pipeline does not hand its generators on (`LDMPipeline` with `eta` above 0), images are
    the same in the same batch only.

    Attributes:
        pipeline: a diffusers pipeline, or anything with its call arguments (`generator`, `num_inference_steps`,
            `output_type`, and `batch_size` or `prompt` where it has them).
        steps: `num_inference_steps`.
        seeds: which samples.
        prompts: for pipelines that take prompts.
        call_kwargs: further arguments of the pipeline's call: size, guidance scale, an image, `class_labels`, ...
            A list of negative prompts or class labels is dealt out as prompts are, and so are the rows of
            `prompt_embeds` and what goes with them.
        batch_size: samples in one call of the pipeline.
    """

    pipeline: Any
    steps: int = 50
    seeds: tuple[int, ...] = (0,)
    prompts: tuple[str, ...] = ()
    call_kwargs: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = 8

    def __post_init__(self) -> None:
        prompts: Any = self.prompts
        object.__setattr__(self, "seeds", tuple(self.seeds))
        object.__setattr__(self, "prompts", (prompts,) if isinstance(prompts, str) else tuple(prompts))
        _check_whole("steps", self.steps, 1)
        _check_whole("batch_size", self.batch_size, 1)
        for seed in self.seeds:
            _check_whole("seeds", seed, 0)
        if len({noise_of(seed) for seed in self.seeds}) != len(self.seeds):
            raise WorkloadError(
                "seeds: found some twice, expected each once; also modulo 2**32, where noise is the same"
            )

    def replace(self, **changes: Any) -> Self:
        """A copy with some attributes changed."""
        return dataclasses.replace(self, **changes)

    @property
    def sampler(self) -> Any:
        """The pipeline's scheduler; the pipeline itself where it has none and steps on its own."""
        return getattr(self.pipeline, "scheduler", self.pipeline)

    def batches(self) -> Iterator[tuple[int, ...]]:
        """The seeds, `batch_size` at a time."""
        for start in range(0, len(self.seeds), self.batch_size):
            yield self.seeds[start : start + self.batch_size]

    def run(self, seeds: Sequence[int] | None = None, *, steps: int | None = None) -> torch.Tensor:
        """Generate the images of `seeds` (all of the workload if None) in one call of the pipeline.

        Returns:
            float32 on the CPU, (len(seeds), channels, height, width), from 0 to 1. A video is one image, its frames
            below each other.

        Raises:
            WorkloadError: the arguments do not fit the pipeline, or its result is not one image for each seed.
        """
        return to_images(self.call(self.seeds if seeds is None else seeds, steps=steps), self.pipeline, seeds)

    def call(self, seeds: Sequence[int], *, steps: int | None = None, **changes: Any) -> Any:
        """Call the pipeline for `seeds` as `run` does, and return its own result; `changes` are further arguments.

        Raises:
            WorkloadError: the pipeline does not run with these arguments.
        """
        if not seeds:
            raise WorkloadError("seeds: found none, expected at least one")
        chosen = arguments(self.pipeline, seeds, steps or self.steps, self.prompts, self.call_kwargs)
        with _quiet(self.pipeline), _seeded(seeds[0]), _told(self.pipeline, self.call_kwargs):
            return self.pipeline(**(chosen | changes))

    def trace(self, steps: int | None = None) -> Trace:
        """How one run calls its denoiser; see `Trace`. Evaluates the denoiser once and decodes one image at most."""
        return trace(self, steps)

    def num_calls(self, steps: int | None = None) -> int:
        """Denoiser calls of one run: 39 for Heun with 20 steps, 51 for PNDM with 50, counted rather than guessed."""
        return self.trace(steps).num_calls


def to_images(result: Any, pipeline: Any, seeds: Sequence[int] | None = None) -> torch.Tensor:
    """The images in a pipeline's result, as `Workload.run` gives them.

    Raises:
        WorkloadError: there are none, or not as many as seeds.
    """
    images = getattr(result, "images", getattr(result, "frames", result[0] if isinstance(result, tuple) else None))
    name = type(pipeline).__name__
    if images is None:
        raise WorkloadError(f"{name}: found a {type(result).__name__} without images, expected a pipeline of images")
    tensor = torch.as_tensor(images)
    if tensor.ndim == 4 and not isinstance(images, torch.Tensor):  # arrays of diffusers are channels-last
        tensor = tensor.permute(0, 3, 1, 2)
    if tensor.ndim == 5:
        tensor = _filmstrip(tensor, channels_last=not isinstance(images, torch.Tensor))
    if tensor.ndim != 4 or (seeds is not None and len(tensor) != len(seeds)):
        expected = "one image for each seed" if seeds is None else f"{len(seeds)} images"
        raise WorkloadError(f"{name}: found a result of shape {list(tensor.shape)}, expected {expected}")
    return tensor.to("cpu", torch.float32).contiguous()


def _filmstrip(videos: torch.Tensor, *, channels_last: bool) -> torch.Tensor:
    """(videos, frames, channels, height, width) as (videos, channels, frames * height, width)."""
    frames = videos.permute(0, 1, 4, 2, 3) if channels_last else videos
    return frames.transpose(1, 2).flatten(2, 3)


def _check_whole(name: str, value: Any, least: int) -> None:
    if type(value) is not int or not least <= value < 2**63:
        raise WorkloadError(f"{name}: found {value!r}, expected a whole number from {least} to 2**63 - 1")


@contextmanager
def _quiet(pipeline: Any) -> Iterator[None]:
    """Without the progress bars of diffusers, which are as before afterwards."""
    missing: dict[str, Any] = {}
    found = getattr(pipeline, "_progress_bar_config", missing)
    before = found if found is missing else copy.copy(found)
    if hasattr(pipeline, "set_progress_bar_config"):
        pipeline.set_progress_bar_config(disable=True)
    try:
        yield
    finally:
        if before is not missing:
            pipeline._progress_bar_config = before
        elif hasattr(pipeline, "_progress_bar_config"):
            del pipeline._progress_bar_config


@contextmanager
def _told(pipeline: Any, call_kwargs: Mapping[str, Any]) -> Iterator[None]:
    """What a pipeline does not like about its arguments, in a sentence that says whose they are."""
    try:
        yield
    except DeepcadenceError:
        raise
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        name, what = type(pipeline).__name__, type(error).__name__
        hint = lacking_picture(pipeline, call_kwargs)
        raise WorkloadError(f"{name} does not run with these arguments: {what}: {error}{hint}") from error


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """With the global generators seeded, for samplers that take noise from them; as before afterwards."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield
