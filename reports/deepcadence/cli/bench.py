"""`deepcadence bench`: what a schedule gains on this machine."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepcadence.cli.command import AsJson, Debug, Quiet
from deepcadence.cli.console import note, print_json, stdout
from deepcadence.cli.options import BatchSize, Call, Device, DType, Dtype, Model, Prompts
from deepcadence.cli.progress import progress

if TYPE_CHECKING:
    from rich.table import Table

    from deepcadence.probe import Timing, Workload


def bench(
    model: Model,
    schedule: Annotated[
        Path,
        typer.Option(
            "--schedule",
            help="The schedule to time: a JSON file, or a name of `schedule list`.",
            show_default=False,
        ),
    ],
    compile_too: Annotated[
        bool,
        typer.Option("--compile", help="Time the model under torch.compile as well, which takes minutes on a CPU."),
    ] = False,
    rounds: Annotated[
        int, typer.Option("--rounds", min=1, help="Runs of each kind, taking turns; the median counts.")
    ] = 5,
    steps: Annotated[
        int | None,
        typer.Option("--steps", min=1, help="Sampling steps.  [default: what the schedule was made for]"),
    ] = None,
    prompts: Prompts = None,
    call: Call = None,
    batch_size: BatchSize = 1,
    device: Device = None,
    dtype: DType = Dtype.float32,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Time whole runs of a model on this machine: plain and with the schedule; with --compile, compiled too.

    The kinds take turns, so that a busy machine slows all of them alike, and speed-ups are taken within a round.
    `time/MACs` is the speed-up in time over that in MACs: 1 where time falls as far as MACs do. It is less where
    text encoding and decoding, which no schedule shortens, take their share. The first run of a kind, which compiles,
    does not count; it has a column of its own.

    Example:  deepcadence bench ./my-model --schedule schedule.json --device cuda --dtype float16 --compile
    """
    from deepcadence.cli.loading import load_schedule
    from deepcadence.cli.workload import scheduled_workload
    from deepcadence.probe import bench as time_runs

    loaded = load_schedule(schedule)
    with scheduled_workload(
        model,
        loaded,
        str(schedule),
        steps=steps,
        seeds=tuple(range(batch_size)),
        prompts=prompts,
        call=call,
        batch_size=batch_size,
        device=device,
        dtype=dtype,
    ) as workload:
        if compile_too:
            note("torch.compile works in the first runs; on a CPU that takes minutes for a large model")
        with progress() as report:
            timings = time_runs(workload, loaded, rounds=rounds, compile=compile_too, progress=report)
    if as_json:
        print_json(_record(model, schedule, workload, timings))
    else:
        stdout().print(_table(schedule, workload, timings))
    if not compile_too:
        note("next: --compile times the model under torch.compile as well")


def _record(model: str, schedule: Path, workload: Workload, timings: tuple[Timing, ...]) -> dict[str, Any]:
    from deepcadence.schedules import denoiser

    weight = next(denoiser(workload.pipeline).parameters())
    return {
        "model": model,
        "schedule": str(schedule),
        "device": str(weight.device),
        "dtype": str(weight.dtype).removeprefix("torch."),
        "steps": workload.steps,
        "batch_size": workload.batch_size,
        "rows": [{**asdict(row), "median": row.median, "time_over_macs": row.time_over_macs} for row in timings],
    }


def _table(schedule: Path, workload: Workload, timings: tuple[Timing, ...]) -> Table:
    """A row a kind; 80 columns wide."""
    from rich import box
    from rich.table import Table

    samples = f"{workload.batch_size} sample{'s' * (workload.batch_size > 1)}"
    table = Table(
        title=f"A run of {workload.steps} steps, {samples}, with {schedule}",
        title_style="bold",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
    )
    table.add_column("", overflow="fold")
    headings = (
        "seconds\n(range)",
        "less\ntime",
        "fewer\nMACs",
        "time/\nMACs",
        "held\nMiB",
        "peak\nMiB",
        "first\nrun",
    )
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in timings:
        table.add_row(*_cells(row))
    return table


def _cells(row: Timing) -> tuple[str, ...]:
    return (
        row.name,
        f"{row.median:.3g}\n({min(row.seconds):.3g}-{max(row.seconds):.3g})",
        f"{row.speedup:.2f}x",
        "" if row.mac_speedup is None else f"{row.mac_speedup:.2f}x",
        "" if row.time_over_macs is None else f"{row.time_over_macs:.2f}",
        "" if row.mac_speedup is None else f"{row.bytes_held / 2**20:.2f}",
        "" if row.peak_bytes is None else f"{row.peak_bytes / 2**20:,.0f}",
        f"{row.first:.3g}",
    )
