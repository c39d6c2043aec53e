"""`deepcadence report`: one HTML page from what the other commands wrote."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from deepcadence.cli.command import AsJson, Debug, Quiet
from deepcadence.cli.console import note, print_json
from deepcadence.cli.options import StudyName
from deepcadence.cli.progress import busy

if TYPE_CHECKING:
    from deepcadence.reports import FigureFormat
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
    images: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            "--images",
            metavar="WITHOUT WITH",
            help="Two folders of `deepcadence generate`, same seeds: without the schedule, and with it.",
        ),
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option("--figures", metavar="DIR", help="Write each figure as a file of its own too, its data as CSV."),
    ] = None,
    formats: Annotated[
        str, typer.Option("--format", metavar="LIST", help="Formats of these files: svg, pdf, png; several by commas.")
    ] = "svg",
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write a self-contained HTML report from a profile, a study and a schedule, or from what there is of them.

    The page needs no network, and reads the same without its script. The held-out comparison that `deepcadence search`
    leaves beside its schedule is taken in, if it is of that schedule.

    Example:  deepcadence report --profile profile.safetensors --study sqlite:///study.db --schedule schedule.json
    """
    from deepcadence.cli.outputs import Kind, check_folder, check_output

    if profile is None and study is None and schedule is None:
        raise typer.BadParameter("nothing to report: give at least one of --profile, --study and --schedule")
    kinds = _formats(formats)
    check_output(out, Kind.report)
    if figures:
        check_folder(figures)
    with busy("drawing"):
        sources = _load(profile, study, study_name, schedule, images)
        written = _write(out, sources, figures, kinds)
    note(f"wrote {out}" + (f" and {len(written)} files in {figures}" if figures else ""))
    if as_json:
        print_json({"report": str(out)} | ({"figures": [str(path) for path in written]} if figures else {}))


def _formats(text: str) -> tuple[FigureFormat, ...]:
    from deepcadence.reports import FigureFormat

    known: tuple[FigureFormat, ...] = get_args(FigureFormat)
    words = [word.strip() for word in text.split(",")]
    unknown = [word for word in words if word not in known]
    if unknown:
        raise typer.BadParameter(f"found {unknown[0]!r}, expected some of {', '.join(known)}", param_hint="--format")
    return tuple(kind for kind in known if kind in words)


def _load(
    profile: Path | None, study: str | None, study_name: str, schedule: Path | None, images: tuple[Path, Path] | None
) -> dict[str, Any]:
    """What `write_report` and `write_figures` take."""
    from deepcadence.cli.loading import load_schedule
    from deepcadence.cli.report_inputs import check_one_model, image_pairs
    from deepcadence.probe import Profile
    from deepcadence.search import StudyResult

    loaded = load_schedule(schedule) if schedule else None
    profiled = Profile.load(profile) if profile else None
    studied = StudyResult.from_storage(study, study_name) if study else None
    check_one_model(profiled, studied, loaded)
    return {
        "profile": profiled,
        "study": studied,
        "held_out": find_held_out(schedule, loaded) if schedule and loaded else None,
        "schedule": loaded,
        "images": image_pairs(*images) if images else None,
    }


def _write(out: Path, sources: Mapping[str, Any], figures: Path | None, kinds: tuple[FigureFormat, ...]) -> list[Path]:
    """Writes the page, and the files of the figures, which are returned."""
    from deepcadence.cli.typed import command_line
    from deepcadence.reports import write_figures, write_report

    write_report(out, **sources, commands=[command_line()])
    return write_figures(figures, **sources, formats=kinds) if figures else []


def find_held_out(path: Path, schedule: Schedule) -> HeldOut | None:
    """The comparison beside the schedule at `path`, if there is one and it is of this very schedule."""
    from deepcadence.cli.held_out import held_out_path
    from deepcadence.search import HeldOut

    beside = held_out_path(path)
    if not beside.exists():
        return None
    held_out = HeldOut.load(beside)
    return held_out if held_out.schedule == schedule else None
