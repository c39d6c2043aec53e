"""The report: one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from deepcadence.reports._page import build_page
from deepcadence.reports._sources import Sources
from deepcadence.reports._words import MINUS, legal, named
from deepcadence.reports.images import ImagePairsInfo
from deepcadence.schedules import write_atomically

if TYPE_CHECKING:
    from deepcadence.probe import Profile
    from deepcadence.schedules import Schedule
    from deepcadence.search import Estimate, HeldOut, StudyResult

__all__ = ["render_report", "write_report"]


def render_report(
    *,
    profile: Profile | None = None,
    study: StudyResult | None = None,
    held_out: HeldOut | None = None,
    schedule: Schedule | None = None,
    images: ImagePairsInfo | None = None,
    title: str | None = None,
    commands: Sequence[str] = (),
) -> str:
    """An HTML page on whatever is given: figures inlined as SVG, images as PNG, no network.

    Args:
        profile: gives the similarity figures and the costs per cut.
        study: gives quality against MACs.
        held_out: gives the verdict and the comparison with uniform schedules and fewer steps.
        schedule: gives the timeline, and is marked in the other figures; that of `held_out` where None.
        images: see `image_pairs_info`.
        title: the page's heading; names the model where None.
        commands: what to type to get all this again, one command line each.

    Tables sort on a click, and the points of quality against MACs give their schedules, by one script of the page's
    own, the only one that its policy lets run; without scripts the page reads the same. The same arguments, on the
    same versions, give the same bytes. All text is escaped.

    Raises:
        ValueError: neither a profile, a study, a held-out comparison nor a schedule is given.
    """
    page = build_page(Sources(profile, study, held_out, schedule, images, title, tuple(commands)))
    return _environment().get_template("report.html.j2").render(page=page)


def write_report(
    path: str | os.PathLike[str],
    *,
    profile: Profile | None = None,
    study: StudyResult | None = None,
    held_out: HeldOut | None = None,
    schedule: Schedule | None = None,
    images: ImagePairsInfo | None = None,
    title: str | None = None,
    commands: Sequence[str] = (),
) -> None:
    """Writes `render_report(...)` to `path`, all of it or nothing.

    Raises:
        ValueError: as `render_report`.
        OSError: the file cannot be written.
    """
    text = render_report(
        profile=profile,
        study=study,
        held_out=held_out,
        schedule=schedule,
        images=images,
        title=title,
        commands=commands,
    )
    write_atomically(path, text)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("deepcadence.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_legal,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    css, js = (
        files("deepcadence.reports").joinpath(f"templates/report.{kind}").read_text(encoding="utf-8")
        for kind in ("css", "js")
    )
    digest = base64.b64encode(hashlib.sha256(js.encode("utf-8")).digest()).decode("ascii")
    environment.globals.update(css=Markup(css), js=Markup(js), js_sha256=digest, estimate=_estimate, named=named)  # noqa: S704
    return environment


def _legal(value: object) -> object:
    """What an expression of the template gives, without characters that may not stand on a page."""
    return legal(value) if type(value) is str else value


def _estimate(value: Estimate, digits: int, signed: bool = False) -> Markup:
    """A mean with its interval below it."""
    sign = "+" if signed else ""
    mean, low, high = (f"{x:{sign}.{digits}f}".replace("-", MINUS) for x in (value.mean, *value.ci95))
    return Markup('{}<span class="ci">[{}, {}]</span>').format(mean, low, high)
