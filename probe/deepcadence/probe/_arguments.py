"""The arguments of one call of a pipeline, by what its signature has."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from deepcadence.probe.errors import WorkloadError

__all__ = ["arguments", "lacking_picture", "per_sample"]

# Set by the workload; `call_kwargs` may not.
_OURS = (
    "generator",
    "num_inference_steps",
    "output_type",
    "prompt",
    "batch_size",
    "num_images_per_prompt",
    "num_videos_per_prompt",
    "return_dict",
)
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
# Texts that a pipeline wants once for each prompt when the prompt is a list.
_TEXTS = ("prompt_2", "prompt_3", "negative_prompt", "negative_prompt_2", "negative_prompt_3")
# Prompts as tensors, a row for each.
_EMBEDDINGS = ("prompt_embeds", "prompt_attention_mask")
# Pictures that a pipeline encodes with the samples' generators: one for each, or all would get the first one's noise.
_PICTURES = ("image", "mask_image")


def per_sample(values: Sequence[Any], seeds: Sequence[int]) -> list[Any]:
    """The value of each seed: `values[seed % len(values)]`, so that a seed keeps its value in every batch."""
    return [values[seed % len(values)] for seed in seeds]


def arguments(
    pipeline: Any, seeds: Sequence[int], steps: int, prompts: Sequence[str], call_kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Keyword arguments that make `pipeline` give one image for each seed.

    Raises:
        WorkloadError: prompts are missing or not taken, `call_kwargs` has an argument that the pipeline lacks, or lacks
            one that it needs.
    """
    name = type(pipeline).__name__
    taken = inspect.signature(pipeline.__call__).parameters
    _check(name, taken, call_kwargs, of_diffusers=type(pipeline).__module__.startswith("diffusers."))
    chosen: dict[str, Any] = {"generator": [torch.Generator().manual_seed(seed) for seed in seeds]}
    if "num_inference_steps" in taken:
        chosen["num_inference_steps"] = steps
    if "output_type" in taken:
        chosen["output_type"] = _output_type(pipeline)
    if "prompt" in taken and "prompt_embeds" not in call_kwargs:
        if not prompts:
            raise WorkloadError(f"{name} takes prompts and the workload has none; give prompts=[...]")
        chosen["prompt"] = per_sample(prompts, seeds)
    elif prompts:
        raise WorkloadError(f"{name} takes no prompts here, and the workload has {len(prompts)}")
    elif "batch_size" in taken:
        chosen["batch_size"] = len(seeds)
    chosen |= {key: _expanded(key, value, seeds) for key, value in call_kwargs.items()}
    _check_complete(name, taken, chosen)
    return chosen


def _check(
    name: str, taken: Mapping[str, inspect.Parameter], call_kwargs: Mapping[str, Any], *, of_diffusers: bool
) -> None:
    if "generator" not in taken:
        raise WorkloadError(f"{name} takes no generator, so a seed cannot give the same image twice")
    ours = [key for key in call_kwargs if key in _OURS]
    if ours:
        raise WorkloadError(f"call_kwargs: found {', '.join(ours)}, which the workload sets itself")
    for key in _PICTURES:
        if isinstance(call_kwargs.get(key), str):
            raise WorkloadError(f"call_kwargs: {key}: found text, expected a picture; {_in_python(key)}")
    # Pipelines of diffusers that take any argument overlook those that they do not name.
    open_ended = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in taken.values()) and not of_diffusers
    unknown = [key for key in call_kwargs if key not in taken and not open_ended]
    if unknown:
        free = ", ".join(key for key, each in taken.items() if each.kind in _NAMED and key not in _OURS)
        raise WorkloadError(
            f"call_kwargs: found {', '.join(unknown)}, which {name} does not take; it takes {free or 'no others'}"
        )


def _check_complete(name: str, taken: Mapping[str, inspect.Parameter], chosen: Mapping[str, Any]) -> None:
    needed = [key for key, each in taken.items() if each.kind in _NAMED and each.default is inspect.Parameter.empty]
    missing = [key for key in needed if key not in chosen]
    if missing:
        first = missing[0]
        how = f"give call_kwargs={{{first!r}: ...}}, or on the command line --call {first}=VALUE"
        raise WorkloadError(f"{name} needs {', '.join(missing)}: {_in_python(first) if first in _PICTURES else how}")


def lacking_picture(pipeline: Any, call_kwargs: Mapping[str, Any]) -> str:
    """What to add to an error of a pipeline that takes a picture and was given none, else nothing."""
    taken = inspect.signature(pipeline.__call__).parameters
    lacking = next((key for key in _PICTURES if key in taken and call_kwargs.get(key) is None), None)
    return f" ({lacking} was not given; {_in_python(lacking)})" if lacking else ""


def _in_python(picture: str) -> str:
    return f"give it in Python, Workload(..., call_kwargs={{{picture!r}: picture}}); no command takes one"


def _output_type(pipeline: Any) -> str:
    """Arrays, but tensors from pipelines that cannot make arrays of bfloat16."""
    plain = not hasattr(pipeline, "image_processor")
    return "pt" if plain and getattr(pipeline, "dtype", None) == torch.bfloat16 else "np"


def _expanded(key: str, value: Any, seeds: Sequence[int]) -> Any:
    if key in _TEXTS and isinstance(value, str):
        return [value] * len(seeds)
    if key.endswith(_EMBEDDINGS) and isinstance(value, torch.Tensor):
        return value[[seed % len(value) for seed in seeds]]
    if key in _PICTURES:
        return _picture_for_each(value, len(seeds))
    if (key in _TEXTS or key == "class_labels") and isinstance(value, list | tuple):
        return per_sample(value, seeds)
    return value


def _picture_for_each(value: Any, count: int) -> Any:
    """A single picture once for each sample; lists and batches as they are."""
    if isinstance(value, torch.Tensor):
        batch = value if value.ndim > 3 else value[None]
        return batch.expand(count, *batch.shape[1:]) if len(batch) == 1 else value
    if hasattr(value, "convert") or getattr(value, "ndim", 4) < 4:  # of Pillow, or one array
        return [value] * count
    return value
