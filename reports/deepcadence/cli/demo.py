"""`deepcadence demo`: everything at once, on the bundled model."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepcadence.cli.command import AsJson, Debug, Quiet, on_interrupt
from deepcadence.cli.console import note, print_json, stdout, styled
from deepcadence.cli.progress import progress

if TYPE_CHECKING:
    from deepcadence.cli.demo_budget import Budget


def demo(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for what the demo writes.")] = Path(
        "deepcadence-demo"
    ),
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Do it all again; what an earlier demo wrote is removed.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """See it work: profile the bundled model, search its schedule, run it, compare, report. A few minutes on two cores.

    Writes profile.safetensors, study.db, schedule.json, images/ (with the schedule and without) and report.html.
    A second run reuses what is there, and an interrupted one goes on where it stopped.

    The model makes 32x32 pictures of clothes (Fashion-MNIST) in 50 DDIM steps; no download, no GPU.

    Example:  deepcadence demo --out demo/
    """
    run_demo("bundled", out, fresh=fresh, as_json=as_json)


def run_demo(
    model: str | Path, out: Path, *, fresh: bool = False, budget: Budget | None = None, as_json: bool = False
) -> None:
    """The demo on any model that makes images from noise alone; `budget` says how much of everything."""
    from deepcadence.cli.demo_budget import Budget
    from deepcadence.cli.demo_steps import Demo
    from deepcadence.cli.held_out import comparison_record, comparison_table

    began = time.monotonic()
    on_interrupt(f"What is finished is kept in {out}; the same command goes on from there.")
    steps = Demo(model, out, budget or Budget(), fresh=fresh)
    with progress() as report:
        held_out = steps.run(report)
    if as_json:
        files = {"schedule": str(steps.schedule_path), "report": str(steps.report_path)}
        print_json(files | comparison_record(held_out))
    else:
        stdout().print(comparison_table(held_out))
        stdout().print(held_out.verdict, soft_wrap=True)
        stdout().print(styled("report:", "bold", str(out / "report.html")), soft_wrap=True)
    note(f"{time.monotonic() - began:.0f} s in all")
