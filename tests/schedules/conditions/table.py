"""The support table of docs/support.md: `python -m tests.schedules.conditions.table` tries every cell and writes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.schedules.conditions import on_models, on_pipelines
from tests.schedules.conditions.cases import AbsentError
from tests.schedules.conditions.families import COLUMNS, Column

PAGE = Path(__file__).parents[3] / "docs" / "support.md"
BEGIN, END = "<!-- the table: python -m tests.schedules.conditions.table -->\n", "<!-- end of the table -->\n"

ROWS: dict[str, Callable[[Column], Any]] = {
    "ControlNet": on_pipelines.controlnet,
    "several ControlNets": on_pipelines.multi_controlnet,
    "ControlNet, held at partial calls": on_pipelines.held_controlnet,
    "T2I-Adapter": on_pipelines.t2i_adapter,
    "IP-Adapter": on_models.ip_adapter,
    "LoRA (PEFT), with a scale": on_models.lora_with_scale,
    "LoRA, another within a run": on_models.lora_switched,
    "LoRA, another between runs": on_pipelines.lora_between_runs,
    "FreeU": on_models.freeu,
    "PAG": on_pipelines.perturbed_attention,
    "`clip_skip`": on_pipelines.clip_skip,
    "prompt embeddings": on_pipelines.prompt_embeddings,
    "`guidance_rescale`": on_pipelines.guidance_rescale,
    "guidance off within a run": on_pipelines.guidance_off,
    "image to image, `strength`": on_pipelines.image_to_image,
    "inpainting": on_pipelines.inpaint,
    "`denoising_end`": on_pipelines.denoising_end,
    "`denoising_start`": on_pipelines.denoising_start,
    "several images at once": on_pipelines.several_images,
    "a run after an interrupted one": on_pipelines.interrupted,
    "`enable_model_cpu_offload`": on_pipelines.model_offload,
    "`enable_sequential_cpu_offload`": on_models.sequential_offload,
    "group offload, blocks": on_models.group_offload_of_blocks,
    "group offload, leaves": on_models.group_offload_of_leaves,
    "layerwise casting": on_models.layerwise_casting,
    "attention slicing": on_models.attention_slicing,
    "VAE slicing": on_pipelines.vae_slicing,
    "`channels_last`": on_models.channels_last,
    "gradient checkpointing": on_models.gradient_checkpointing,
    "`torch.inference_mode`": on_models.inference_mode,
    "autocast": on_models.autocast,
}
CELLS = [(row, column) for row in ROWS for column in COLUMNS]


def outcome(row: str, column: Column) -> str:
    """What stands in a cell.

    Raises:
        AssertionError: it works, but not as promised.
    """
    try:
        found: str = ROWS[row](column).outcome()
    except AbsentError:
        return "-"
    return found


def table(outcomes: Mapping[tuple[str, str], str]) -> str:
    """The Markdown of the table."""
    lines = [["condition", *(column.name for column in COLUMNS)], ["---"] * (len(COLUMNS) + 1)]
    lines += [[row, *(outcomes[row, column.name] for column in COLUMNS)] for row in ROWS]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def committed() -> str:
    """The table as the page has it."""
    return PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0].strip("\n") + "\n"


def cells(markdown: str) -> dict[tuple[str, str], str]:
    """What stands in each cell of a table."""
    (_, *names), _, *lines = ([part.strip() for part in line.strip("| ").split("|")] for line in markdown.splitlines())
    return {(row, name): cell for row, *found in lines for name, cell in zip(names, found, strict=True)}


def main() -> None:
    """Write the table into the page."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    found = {(row, column.name): outcome(row, column) for row, column in CELLS}
    PAGE.write_text(f"{before}{BEGIN}\n{table(found)}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    main()
