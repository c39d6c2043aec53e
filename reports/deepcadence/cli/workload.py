"""From command-line options to a workload: the pipeline loaded, on its device, with its prompts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from deepcadence.cli.progress import busy

if TYPE_CHECKING:
    from deepcadence.cli.options import Dtype
    from deepcadence.probe import Workload


def load_workload(
    model: str,
    *,
    steps: int,
    seeds: tuple[int, ...],
    prompts: tuple[str, ...],
    batch_size: int,
    device: str | None,
    dtype: Dtype,
) -> Workload:
    """The workload that the options of `probe`, `search` and `generate` describe."""
    with busy(f"loading {model}"):
        from deepcadence.probe import Workload, load_pipeline

        quiet_libraries()
        pipeline = load_pipeline(model, device=device or default_device(), dtype=dtype.torch())
    return Workload(pipeline, steps=steps, seeds=seeds, prompts=prompts, batch_size=batch_size)


def default_device() -> str:
    """Cuda where there is one, else cpu."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def read_prompts(path: Path | None) -> tuple[str, ...]:
    """The lines of `path` that are not empty; () without a file."""
    if path is None:
        return ()
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise typer.BadParameter(f"{path} is not UTF-8 text ({error.reason})", param_hint="--prompts") from None
    lines = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not lines:
        raise typer.BadParameter(f"{path} holds no prompt: expected one a line", param_hint="--prompts")
    return lines


def quiet_libraries() -> None:
    """No advice and no bars of their own from the libraries that load models."""
    import diffusers.utils.logging
    import transformers.utils.logging

    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.set_verbosity_error()
        library.disable_progress_bar()
