"""Arguments and options that several commands share, and how their text becomes values."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import torch


class Dtype(StrEnum):
    """Floating-point types that a pipeline can be loaded in."""

    float32 = "float32"
    float16 = "float16"
    bfloat16 = "bfloat16"

    def torch(self) -> torch.dtype:
        """The type by its torch name."""
        import torch

        return {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}[self.value]


Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A diffusers pipeline: a folder, an id on the Hugging Face hub, or `bundled` for the small model inside.",
        show_default=False,
    ),
]
Device = Annotated[
    str | None,
    typer.Option("--device", help="Where to run, e.g. cuda, cuda:1, mps, cpu.  [default: cuda if there is one]"),
]
DType = Annotated[Dtype, typer.Option("--dtype", help="Precision of the model. float16 and bfloat16 are for GPUs.")]
Prompts = Annotated[
    Path | None,
    typer.Option(
        "--prompts",
        metavar="FILE",
        help="Text file, one prompt a line, for a text-to-image model; seed s uses line s mod n.",
    ),
]
Call = Annotated[
    list[str] | None,
    typer.Option(
        "--call",
        metavar="NAME=VALUE",
        help="Further argument of the pipeline's call, as JSON or text: guidance_scale=5, height=768, "
        "negative_prompt=blurry, class_labels=[207,360]; repeat for several. Give search and generate the same.",
    ),
]
BatchSize = Annotated[
    int, typer.Option("--batch-size", min=1, help="Samples per run: more is faster and takes more memory.")
]
Cut = Annotated[
    int,
    typer.Option(
        "--cut",
        "--branch",
        min=0,
        help="Where partial calls split the network: 0 is the outermost and cheapest. (The DeepCache package's "
        "cache_branch_id; the paper counts from 1.)",
    ),
]
Cuts = Annotated[
    list[int] | None,
    typer.Option(
        "--cut", "--branch", min=0, help="Only this cut; repeat for several.  [default: every cut of the model]"
    ),
]
Storage = Annotated[
    str,
    typer.Option(
        "--storage",
        metavar="URL",
        help="Where the study is kept: sqlite:///study.db, postgresql+psycopg://user@host/database, "
        "or the name of an SQLite file.",
    ),
]
StudyName = Annotated[
    str, typer.Option("--study-name", help="Name of the study in its storage, which can hold several.")
]
Pictures = Annotated[
    Path | None,
    typer.Option(
        "--pictures",
        metavar="FOLDER",
        help="Keep a picture of each trial's first images, which optuna-dashboard shows with --artifact-dir FOLDER.",
    ),
]
