"""`deepcadence schedule`: make, look at, check and convert schedules."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepcadence.cli.command import AsJson, Command, Debug, Quiet, error_sentence
from deepcadence.cli.console import note, print_json, stderr, stdout
from deepcadence.cli.describe import describe, facts, summary
from deepcadence.cli.loading import load_schedule
from deepcadence.cli.options import Cut

if TYPE_CHECKING:
    from deepcadence.schedules import Schedule

app = typer.Typer(no_args_is_help=True, help="List, make, look at, check and convert schedules.")


class Formula(StrEnum):
    """The two readings of the paper's non-uniform schedule."""

    paper = "paper"
    released = "released"


class Target(StrEnum):
    """Caches that schedules are exported for."""

    deepcache = "deepcache"
    cache_dit = "cache-dit"
    smoothcache = "smoothcache"


class Origin(StrEnum):
    """Caches whose schedules are imported."""

    cache_dit = "cache-dit"
    smoothcache = "smoothcache"


File = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="A schedule: a JSON file, or a name of `schedule list`.",
        show_default=False,
    ),
]
Output = Annotated[Path, typer.Option("-o", "--out", help="Where to write the schedule (JSON).", show_default=False)]
Calls = Annotated[
    int, typer.Option("--calls", min=1, help="Denoiser calls of a run: 50 DDIM steps make 50, 20 Heun steps make 39.")
]


@app.command("new", cls=Command)
def new(
    out: Output,
    calls: Calls = 50,
    interval: Annotated[
        int | None, typer.Option("--interval", min=1, help="N of the paper's 1:N, a full call every N calls.  [calls]")
    ] = None,
    cut: Cut = 0,
    center: Annotated[
        float | None, typer.Option("--center", help="Non-uniform: the call around which full calls crowd.  [calls]")
    ] = None,
    power: Annotated[
        float | None,
        typer.Option("--power", help="Non-uniform: how strongly they crowd; 1 is uniform."),
    ] = None,
    formula: Annotated[
        Formula,
        typer.Option("--formula", help="Non-uniform: as the paper prints it, or as its authors' code computes it."),
    ] = Formula.paper,
    full_calls: Annotated[
        str | None, typer.Option("--full-calls", help="The full calls themselves, e.g. 0,5,10,20; 0 must be one.")
    ] = None,
    order: Annotated[
        int,
        typer.Option(
            "--order",
            min=0,
            max=2,
            help="Features: 0 holds the last one, 1 follows the line through two, 2 a parabola.",
        ),
    ] = 0,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            help="Adaptive: a partial call whose input changed by more than this part goes on to a full one.",
        ),
    ] = None,
    max_hold: Annotated[
        int | None, typer.Option("--max-hold", min=1, help="Adaptive: the most partial calls in a row.  [calls]")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write a schedule by rule: uniform, non-uniform, or with the full calls that you name.

    No model is needed. `deepcadence search` finds a schedule by measurement.

    Uniform:      deepcadence schedule new --calls 50 --interval 5 -o uniform5.json

    Non-uniform:  deepcadence schedule new --calls 50 --interval 5 --center 15 --power 1.4 -o nonuniform5.json

    Extrapolated: deepcadence schedule new --calls 50 --interval 3 --order 1 -o line3.json

    Adaptive:     deepcadence schedule new --calls 50 --interval 50 --threshold 0.1 --max-hold 9 -o adaptive.json

    By hand:      deepcadence schedule new --calls 8 --full-calls 0,1,4 --cut 2 -o mine.json
    """
    from deepcadence.cli.outputs import Kind, check_output

    check_output(out, Kind.schedule)
    if threshold is not None and order:
        raise typer.BadParameter("give --order or --threshold, not both", param_hint="--threshold")
    if threshold is None and max_hold is not None:
        raise typer.BadParameter("belongs to an adaptive schedule: give --threshold as well", param_hint="--max-hold")
    schedule = _generate(calls, interval, cut, center, power, formula, full_calls)
    if threshold is not None:
        schedule = schedule.adaptive(threshold, max_hold)
    _write(schedule.extrapolated(order) if order else schedule, out, as_json)


@app.command("list", cls=Command)
def list_(as_json: AsJson = False, quiet: Quiet = False, debug: Debug = False) -> None:
    """List the schedules that come along: for the bundled model, and those that the DeepCache paper publishes.

    The commands that take a schedule take these names too, as in `deepcadence generate bundled --schedule bundled-2x`;
    in Python, `preset(NAME)` loads one. `--json` gives the file of each.

    Example:  deepcadence schedule list
    """
    from rich.table import Table

    from deepcadence.schedules import preset, presets
    from deepcadence.schedules.library import LIBRARY

    found = {name: preset(name) for name in presets()}
    if as_json:
        print_json([{"name": name, "file": str(LIBRARY / f"{name}.json")} | summary(found[name]) for name in found])
        return
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    for _ in range(2):
        table.add_column(overflow="fold")
    for name, schedule in found.items():
        table.add_row(name, describe(schedule), _source(schedule))
    stdout().print(table)
    note(f"the files are in {LIBRARY}")


def _source(schedule: Schedule) -> str:
    """Who made it, and on how much its quality rests."""
    by = schedule.created.by if schedule.created else ""
    measured = [f"{q.metric} {q.value:.4g} {q.unit}".rstrip() + f", {q.samples} {q.seeds} samples" for q in
                schedule.quality or ()]  # fmt: skip
    return "; ".join([by, *measured[:1]])


@app.command("show", cls=Command)
def show(file: File, as_json: AsJson = False, quiet: Quiet = False, debug: Debug = False) -> None:
    """Print a schedule: its timeline, where it comes from, what it costs and what was measured.

    In the timeline F is a full call and a number is a partial call, which reuses the feature at that cut.

    Example:  deepcadence schedule show schedule.json
    """
    from rich.table import Table

    schedule = load_schedule(file)
    if as_json:
        print_json({"file": str(file)} | summary(schedule))
        return
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts(schedule):
        table.add_row(name, value)
    stdout().print(table)


@app.command("validate", cls=Command)
def validate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Schedules (JSON).", show_default=False)],
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Check schedule files; exit code 1 if one is bad, with the place in it, what was found and what was expected.

    Whether a schedule fits a model is checked when it is loaded for one, as in `deepcadence generate`.

    Example:  deepcadence schedule validate schedules/*.json
    """
    found = [_judge(file) for file in files]
    if as_json:
        print_json(found)
    for judged in [] if as_json else found:
        console = stdout() if judged["ok"] else stderr()
        console.print(f"{judged['file']}: ok, {judged['is']}" if judged["ok"] else judged["error"], soft_wrap=True)
    if not all(judged["ok"] for judged in found):
        raise typer.Exit(1)


@app.command("resample", cls=Command)
def resample(
    file: File,
    out: Output,
    calls: Annotated[
        int, typer.Option("--calls", min=1, help="Denoiser calls that the new schedule is for.", show_default=False)
    ],
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Convert a schedule to another number of calls.

    Full calls keep their relative places in the run, and are as many as before where they do not fall together, so that
    a shorter run saves less. Nobody measured the new schedule: its quality is unknown until you search or generate.

    Example:  deepcadence schedule resample schedule.json --calls 20 -o schedule20.json
    """
    from deepcadence.cli.outputs import Kind, check_output

    check_output(out, Kind.schedule)
    _write(load_schedule(file).resample(calls), out, as_json)


@app.command("export", cls=Command)
def export(
    file: File,
    to: Annotated[Target, typer.Option("--to", help="Which cache it is for.", show_default=False)],
    out: Annotated[Path, typer.Option("-o", "--out", help="Where to write it (JSON).", show_default=False)],
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write a schedule for another cache, and say what is lost; what it cannot express is refused.

    deepcache: arguments of DeepCacheSDHelper.set_params. cache-dit: for cache_dit.load_configs.
    smoothcache: for DiffuserCacheHelper.

    Example:  deepcadence schedule export uniform5.json --to deepcache -o deepcache.json
    """
    from deepcadence.cli.outputs import Kind, check_output
    from deepcadence.schedules import export_schedule, write_atomically

    check_output(out, Kind[to.name])
    text, lost = export_schedule(load_schedule(file), to.value, source=str(file))
    write_atomically(out, text)
    note(f"wrote {out} for {to.value}")
    _tell_lost(lost)
    if as_json:
        print_json({"file": str(out), "lost": list(lost)})


@app.command("import", cls=Command)
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file of the other cache.", show_default=False)],
    origin: Annotated[Origin, typer.Option("--from", help="Whose file it is.", show_default=False)],
    out: Output,
    cut: Cut = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Make a schedule of one for another cache, and say what is lost; what cannot be expressed is refused.

    cache-dit: a step mask (1110100, or a list), or a configuration that holds one, in YAML (a file called .yaml or
    .yml) or JSON. smoothcache: its JSON.

    Example:  deepcadence schedule import 50-N-2-fora.json --from smoothcache --cut 2 -o schedule.json
    """
    from deepcadence.cli.foreign import read_foreign
    from deepcadence.cli.outputs import Kind, check_output

    check_output(out, Kind.schedule)
    schedule, lost = read_foreign(file, origin.value, cut)
    schedule.save(out)
    note(f"wrote {out}: {describe(schedule)}")
    _tell_lost(lost)
    if as_json:
        print_json({"file": str(out)} | summary(schedule) | {"lost": list(lost)})


def _tell_lost(lost: tuple[str, ...]) -> None:
    for each in lost:
        note(f"lost: {each}")


def _write(schedule: Schedule, out: Path, as_json: bool) -> None:
    schedule.save(out)
    note(f"wrote {out}: {describe(schedule)}")
    if as_json:
        print_json({"file": str(out)} | summary(schedule))


def _judge(file: Path) -> dict[str, Any]:
    from deepcadence.schedules import DeepcadenceError, Schedule

    try:
        return {"file": str(file), "ok": True, "is": describe(Schedule.load(file))}
    except (DeepcadenceError, OSError) as error:
        return {"file": str(file), "ok": False, "error": error_sentence(error)}


def _generate(
    calls: int,
    interval: int | None,
    cut: int,
    center: float | None,
    power: float | None,
    formula: Formula,
    full_calls: str | None,
) -> Schedule:
    from deepcadence.schedules import from_full_calls, nonuniform, uniform

    if full_calls is not None:
        if (interval, center, power) != (None, None, None):
            raise typer.BadParameter("give --full-calls or --interval, not both", param_hint="--full-calls")
        return from_full_calls(calls, _numbers(full_calls), cut)
    if interval is None:
        raise typer.BadParameter(
            "missing: say how often to make a full call, or which ones with --full-calls", param_hint="--interval"
        )
    if (center is None) != (power is None):
        raise typer.BadParameter("a non-uniform schedule needs both --center and --power", param_hint="--center")
    if center is None or power is None:
        return uniform(calls, interval, cut)
    return nonuniform(calls, interval, cut, center, power, formula.value)


def _numbers(text: str) -> list[int]:
    try:
        return [int(word) for word in text.replace(",", " ").split()]
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a list of calls such as 0,5,10", param_hint="--full-calls") from None
