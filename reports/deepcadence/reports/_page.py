"""What stands on a report's page: plain values, ready for the template."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepcadence.probe import Setup
from deepcadence.reports._facts import Measured
from deepcadence.reports._figures import make_figures
from deepcadence.reports._pictures import Pictures, pictures
from deepcadence.reports._plots import Plot, drawn_cuts
from deepcadence.reports._points import Points, front_points
from deepcadence.reports._sources import Sources
from deepcadence.reports._words import TIMES, partial_call
from deepcadence.reports.comparison import ComparisonInfo, Outcome, comparison_info
from deepcadence.reports.costs import CostsInfo
from deepcadence.reports.front import macs_text
from deepcadence.reports.similarity import MAX_FRAMES
from deepcadence.reports.summary import Tile, summarize

if TYPE_CHECKING:
    from deepcadence.probe import Profile
    from deepcadence.schedules import Schedule

__all__ = ["Page", "build_page"]

_SNIPPET = """\
from deepcadence.schedules import cached

with cached(pipe, "schedule.json") as run:
    images = pipe({arguments}).images
print(run.stats)"""

_HEAT_MAPS = (
    "Each map compares the deep feature at one cut between any two calls of a run, by cosine similarity, averaged over "
    "the seeds; all maps share one color scale. A bright block along the diagonal is a stretch in which the feature "
    "hardly changes, so that one full call can serve it."
)

_MAX_ROWS = 1000
"""Of the table of costs: of more cuts the last are left out."""


@dataclass(frozen=True)
class ScheduleSection:
    """The timeline and the file's text."""

    figure: Plot
    json: str


@dataclass(frozen=True)
class CutRow:
    """One row of the table of costs."""

    cut: int
    layer: str
    macs: str
    percent: str
    value: int


@dataclass(frozen=True)
class CostsSection:
    """The table of costs."""

    counter: str
    full: str
    full_macs: int
    shape: str
    place: str
    cuts: tuple[CutRow, ...]
    left_out: int


@dataclass(frozen=True)
class Page:
    """Everything that the template shows. All strings are text, but for `Plot.svg`."""

    title: str
    subtitle: str
    headline: str
    details: tuple[str, ...]
    outcome: Outcome | None
    tiles: tuple[Tile, ...]
    comparison: ComparisonInfo | None
    comparison_figure: Plot | None
    schedule: ScheduleSection | None
    images: Pictures | None
    front: Plot | None
    points: Points | None
    search: tuple[Plot, ...]
    heat_maps: tuple[Plot, ...]
    heat_map_note: str
    distances: tuple[Plot, ...]
    costs: CostsSection | None
    facts: tuple[tuple[str, str], ...]
    prompts: tuple[str, ...]
    commands: tuple[str, ...]
    snippet: str
    generator: str

    @property
    def sections(self) -> list[tuple[str, str]]:
        """Anchor and name of each section that is there."""
        candidates = [
            ("result", "Result", True),
            ("comparison", "Comparison", self.comparison),
            ("schedule", "Schedule", self.schedule),
            ("images", "Images", self.images),
            ("front", "Quality against cost", self.front),
            ("search", "Search", self.search),
            ("similarity", "Similarity", self.heat_maps),
            ("macs", "MACs", self.costs),
            ("setup", "Measured on", True),
            ("repeat", "Repeat it", self.commands or self.snippet),
        ]
        return [(anchor, name) for anchor, name, there in candidates if there]


def build_page(sources: Sources) -> Page:
    """The page for what is given; what is missing leaves its sections out.

    Raises:
        ValueError: neither a profile, a study, a held-out comparison nor a schedule is given.
    """
    sources.check()
    profile, study, held_out, schedule = sources.profile, sources.study, sources.held_out, sources.chosen
    comparison = comparison_info(held_out) if held_out is not None else None
    summary = summarize(profile, study, comparison, schedule)
    figures = make_figures(sources)
    measured = Measured(profile, study, held_out, schedule)
    found = Setup.now().versions
    return Page(
        title=sources.title or _title(sources, schedule, measured),
        subtitle=measured.subtitle,
        headline=summary.headline,
        details=summary.details,
        outcome=summary.outcome,
        tiles=summary.tiles,
        comparison=comparison,
        comparison_figure=figures.comparison,
        schedule=ScheduleSection(figures.timeline, schedule.dumps()) if schedule and figures.timeline else None,
        images=pictures(sources.images) if sources.images is not None and sources.images.pairs else None,
        front=figures.front,
        points=front_points(figures.front_info, figures.front, schedule)
        if figures.front_info and figures.front
        else None,
        search=figures.search,
        heat_maps=figures.heat_maps,
        heat_map_note=_HEAT_MAPS + _marks(profile, schedule) + _left_out(profile),
        distances=figures.distances,
        costs=_costs(measured.costs),
        facts=measured.facts(found),
        prompts=tuple(profile.meta.prompts) if profile is not None else (),
        commands=measured.commands(sources.commands),
        snippet=_snippet(sources) if schedule is not None else "",
        generator=f"deepcadence {found.get('deepcadence', '')}".strip(),
    )


def _title(sources: Sources, schedule: Schedule | None, measured: Measured) -> str:
    what = "Caching schedule" if schedule is not None else "Schedule search" if sources.study else "Profile"
    model = measured.model
    return (
        what
        if model is None
        else f"{what} of {model.class_name}"
        if what == "Profile"
        else f"{what} for {model.class_name}"
    )


def _snippet(sources: Sources) -> str:
    """Says the number of steps where it is known: it is not always the number of calls."""
    steps = (
        sources.profile.meta.steps if sources.profile is not None else sources.study.steps if sources.study else None
    )
    return _SNIPPET.format(arguments="..." if steps is None else f"..., num_inference_steps={steps}")


def _marks(profile: Profile | None, schedule: Schedule | None) -> str:
    """What the frames on the heat maps are, or why there are none."""
    if profile is None or schedule is None:
        return ""
    if schedule.num_calls != profile.num_calls:
        return f" The schedule has {schedule.num_calls} calls and the profile {profile.num_calls}, so it is not marked."
    if len(schedule.full_calls) > MAX_FRAMES:
        return f" The schedule has {len(schedule.full_calls)} full calls, too many to mark."
    return " Dots mark the schedule's full calls, and frames the calls that each of them serves."


def _left_out(profile: Profile | None) -> str:
    """How many cuts have no map."""
    if profile is None or len(drawn := drawn_cuts(profile)) == len(profile.cuts):
        return ""
    more = len(profile.cuts) - len(drawn)
    return f" Only the {len(drawn)} cheapest cuts are drawn; {more} more are left out to keep this page small."


def _costs(info: CostsInfo | None) -> CostsSection | None:
    if info is None:
        return None
    shown = info.cuts[:_MAX_ROWS]
    rows = (CutRow(cut.cut, cut.layer, macs_text(cut.macs), f"{100 * cut.share:.1f}", cut.macs) for cut in shown)
    shape = f" {TIMES} ".join(map(str, info.sample_shape))
    place = partial_call(cut.layer for cut in info.cuts).capitalize()
    return CostsSection(
        info.counter, macs_text(info.full_macs), info.full_macs, shape, place, tuple(rows), len(info.cuts) - len(shown)
    )
