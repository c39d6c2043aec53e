"""The figures of a report as files, each with its data."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from deepcadence.reports._figures import make_figures
from deepcadence.reports._plots import FigureFormat
from deepcadence.reports._sources import Sources
from deepcadence.reports.images import ImagePairsInfo
from deepcadence.schedules import write_atomically

if TYPE_CHECKING:
    from deepcadence.probe import Profile
    from deepcadence.schedules import Schedule
    from deepcadence.search import HeldOut, StudyResult

__all__ = ["FigureFormat", "write_figures"]


def write_figures(
    folder: str | os.PathLike[str],
    *,
    profile: Profile | None = None,
    study: StudyResult | None = None,
    held_out: HeldOut | None = None,
    schedule: Schedule | None = None,
    images: ImagePairsInfo | None = None,
    formats: Iterable[FigureFormat] = ("svg",),
) -> list[Path]:
    """Writes each figure of the report as `NAME.svg` and so on, with its data as `NAME.csv` beside it.

    Args:
        folder: made if it does not exist; files of the same names are replaced.
        profile: gives the similarity figures and the costs per cut.
        study: gives quality against MACs, and how the search went.
        held_out: gives the comparison with uniform schedules and fewer steps.
        schedule: gives the timeline, and is marked in the other figures; that of `held_out` where None.
        images: see `image_pairs_info`.
        formats: "svg", "pdf", "png" (300 dots per inch), or several of them.

    Returns:
        The files.

    Raises:
        ValueError: there is no such format, or neither a profile, a study, a held-out comparison nor a schedule.
        OSError: a file cannot be written.
    """
    kinds = tuple(dict.fromkeys(formats))
    unknown = [kind for kind in kinds if kind not in get_args(FigureFormat)]
    if unknown:
        raise ValueError(f"no figure format {unknown[0]!r}: expected one of {', '.join(get_args(FigureFormat))}")
    sources = Sources(profile, study, held_out, schedule, images)
    sources.check()
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for plot in make_figures(sources):
        for kind in kinds:
            written.append(target / f"{plot.name}.{kind}")
            write_atomically(written[-1], plot.file(kind))
        written.append(target / f"{plot.name}.csv")
        write_atomically(written[-1], plot.table.csv())
    return written
