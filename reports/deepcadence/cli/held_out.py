"""The held-out comparison: where it lies, and how it is printed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from deepcadence.schedules.fields import shortened

if TYPE_CHECKING:
    from rich.table import Table

    from deepcadence.search import Comparison, Estimate, HeldOut

_LONGEST: Final = 200
"""Of a label, so many characters are printed."""


def held_out_path(schedule: Path) -> Path:
    """Where the comparison of a schedule lies: `schedule.json` has `schedule.held-out.json` beside it."""
    return schedule.with_suffix(".held-out.json")


def comparison_table(held_out: HeldOut) -> Table:
    """The chosen schedule, its rivals within the same MACs, and the uncached run; 80 columns wide."""
    from rich import box
    from rich.table import Table

    title = f"Against the same run without a schedule, on {len(held_out.seeds)} held-out samples"
    table = Table(
        title=title, title_style="bold", title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False
    )
    table.add_column("", overflow="fold")
    for name in ("full+\npartial\ncalls", "fewer\nMACs", "less\ntime", "PSNR, dB\n95% interval", "SSIM\n95% interval"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_row("no schedule", f"{held_out.num_calls}+0", "1.00x", "1.00x", "", "")
    names = (
        ("chosen", held_out.chosen),
        ("uniform, held", held_out.uniform),
        ("uniform, extrap.", held_out.uniform_extrapolated),
        ("fewer steps", held_out.fewer_steps),
    )
    for name, row in names:
        if row is not None:
            table.add_row(*_cells(name, row), style="bold" if row is held_out.chosen else None)
    return table


def comparison_record(held_out: HeldOut) -> dict[str, Any]:
    """The same for scripts: plain JSON data."""
    names = (
        ("chosen", held_out.chosen),
        ("uniform", held_out.uniform),
        ("uniform_extrapolated", held_out.uniform_extrapolated),
        ("fewer_steps", held_out.fewer_steps),
    )
    return {
        "samples": len(held_out.seeds),
        "num_calls": held_out.num_calls,
        "full_macs": held_out.full_macs,
        **{name: None if row is None else row.model_dump(mode="json") for name, row in names},
        "verdict": held_out.verdict,
    }


def _cells(name: str, row: Comparison) -> tuple[str, ...]:
    label = shortened(" ".join(row.label.split()), _LONGEST)
    return (
        f"{name}\n{label.removeprefix('uniform ')}",
        f"{row.full_calls}+{row.partial_calls}",
        f"{row.speedup:.2f}x",
        f"{row.wall_speedup:.2f}x",
        _interval(row.psnr, 2),
        _interval(row.ssim, 3),
    )


def _interval(value: Estimate, digits: int) -> str:
    low, high = value.ci95
    return f"{value.mean:.{digits}f}\n[{low:.{digits}f}, {high:.{digits}f}]"
