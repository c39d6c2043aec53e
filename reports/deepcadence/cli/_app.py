"""The commands, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from deepcadence.cli import bench, demo, doctor, generate, macs, probe, report, schedule, search, worker
from deepcadence.cli.command import Command
from deepcadence.cli.console import stdout

EXIT_CODES = (
    "Exit codes: 0 done, 1 an error (one sentence says what and what to do), 2 wrong usage, 130 stopped with Ctrl-C."
)

app = typer.Typer(
    name="deepcadence",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    epilog=EXIT_CODES,
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        from deepcadence.schedules import Created  # brings torch, which `--help` does without

        stdout().print(Created.now().by, highlight=False)
        raise typer.Exit


@app.callback()
def deepcadence(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Find out when a diffusion model must recompute its deep features, and where to cut it.

    Profile a model, search its schedule, load one JSON file at inference:

        deepcadence probe    MODEL --steps 50 --seeds 16 -o profile.safetensors
        deepcadence search   MODEL --profile profile.safetensors --target-speedup 2 -o schedule.json
        deepcadence generate MODEL --schedule schedule.json --seed 0 -o out/

    `deepcadence demo` does all of it with a small model that comes along.
    MODEL is a diffusers pipeline: a folder, an id on the Hugging Face hub, or `bundled`.
    """


for command in (demo.demo, probe.probe, search.search, worker.worker, generate.generate, bench.bench, report.report):
    app.command(cls=Command)(command)
app.add_typer(schedule.app, name="schedule")
app.command(cls=Command)(macs.macs)
app.command(cls=Command)(doctor.doctor)
