"""`deepcadence report`: one HTML page from what the other commands wrote."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepcadence.cli.command import AsJson, Debug, Quiet
from deepcadence.cli.console import note, print_json
from deepcadence.cli.options import StudyName
from deepcadence.cli.progress import busy

if TYPE_CHECKING:
    from deepcadence.schedules import Schedule
    from deepcadence.search import HeldOut


def report(
    out: Annotated[Path, typer.Option("-o", "--out", help="Where to write the page.")] = Path("report.html"),
    profile: Annotated[
        Path | None, typer.Option("--profile", help="From `deepcadence probe`: similarity per cut, costs.")
    ] = None,
    study: Annotated[
        str | None,
        typer.Option("--study", metavar="URL", help="From `deepcadence search`: its --storage. Quality versus MACs."),
    ] = None,
    study_name: StudyName = "deepcadence",
    schedule: Annotated[
        Path | None, typer.Option("--schedule", help="From `deepcadence search`: the timeline, and held-out figures.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write a self-contained HTML report from a profile, a study and a schedule, or from what there is of them.

    The page needs no network and no script. The held-out comparison that `deepcadence search` leaves beside its
    schedule is taken in, if it is of that schedule.

    Example:  deepcadence report --profile profile.safetensors --study sqlite:///study.db --schedule schedule.json
    """
    from deepcadence.cli.outputs import Kind, check_output

    if profile is None and study is None and schedule is None:
        raise typer.BadParameter("nothing to report: give at least one of --profile, --study and --schedule")
    check_output(out, Kind.report)
    with busy("drawing"):
        _write(out, profile, study, study_name, schedule)
    note(f"wrote {out}")
    if as_json:
        print_json({"report": str(out)})


def _write(out: Path, profile: Path | None, study: str | None, study_name: str, schedule: Path | None) -> None:
    from deepcadence.probe import Profile
    from deepcadence.reports import write_report
    from deepcadence.schedules import Schedule
    from deepcadence.search import StudyResult

    loaded = Schedule.load(schedule) if schedule else None
    write_report(
        out,
        profile=Profile.load(profile) if profile else None,
        study=StudyResult.from_storage(study, study_name) if study else None,
        held_out=find_held_out(schedule, loaded) if schedule and loaded else None,
        schedule=loaded,
    )


def find_held_out(path: Path, schedule: Schedule) -> HeldOut | None:
    """The comparison beside the schedule at `path`, if there is one and it is of this very schedule."""
    from deepcadence.cli.held_out import held_out_path
    from deepcadence.search import HeldOut

    beside = held_out_path(path)
    if not beside.exists():
        return None
    held_out = HeldOut.load(beside)
    return held_out if held_out.schedule == schedule else None
