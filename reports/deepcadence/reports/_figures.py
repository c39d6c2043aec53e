"""Which figures there are for what is given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepcadence.reports._facts import Measured
from deepcadence.reports._plots import (
    Plot,
    comparison_plot,
    costs_plot,
    distance_plots,
    front_plot,
    heat_maps,
    history_plot,
    images_plot,
    importance_plot,
    prediction_plot,
    timeline_plot,
)
from deepcadence.reports._sources import Sources
from deepcadence.reports.comparison import comparison_info
from deepcadence.reports.front import FrontInfo, front_info
from deepcadence.reports.history import history_info
from deepcadence.reports.importance import importance_info
from deepcadence.reports.prediction import prediction_info
from deepcadence.reports.summary import chosen_trial
from deepcadence.reports.timeline import timeline_info

if TYPE_CHECKING:
    from deepcadence.search import StudyResult

__all__ = ["Figures", "make_figures"]


@dataclass(frozen=True)
class Figures:
    """The figures; None or empty where nothing is known. They are drawn when asked for."""

    comparison: Plot | None = None
    timeline: Plot | None = None
    images: Plot | None = None
    front_info: FrontInfo | None = None
    front: Plot | None = None
    search: tuple[Plot, ...] = ()
    heat_maps: tuple[Plot, ...] = ()
    distances: tuple[Plot, ...] = ()
    costs: Plot | None = None

    def __iter__(self) -> Iterator[Plot]:
        alone = (self.comparison, self.timeline, self.images, self.front)
        yield from (plot for plot in alone if plot is not None)
        yield from (*self.search, *self.heat_maps, *self.distances)
        if self.costs is not None:
            yield self.costs


def make_figures(sources: Sources) -> Figures:
    """All figures that the sources allow."""
    profile, study, held_out, schedule = sources.profile, sources.study, sources.held_out, sources.chosen
    marked = schedule if profile is not None and schedule and schedule.num_calls == profile.num_calls else None
    chosen = chosen_trial(study, schedule) if study is not None else None
    front = front_info(study, () if chosen is None else chosen.number) if study is not None else None
    costs = Measured(profile, study, held_out, schedule).costs
    return Figures(
        comparison=comparison_plot(comparison_info(held_out)) if held_out is not None else None,
        timeline=timeline_plot(timeline_info(schedule)) if schedule is not None else None,
        images=images_plot(sources.images) if sources.images is not None and sources.images.pairs else None,
        front_info=front,
        front=front_plot(front) if front is not None else None,
        search=_search(study) if study is not None else (),
        heat_maps=heat_maps(profile, marked) if profile is not None else (),
        distances=distance_plots(profile) if profile is not None else (),
        costs=costs_plot(costs) if costs is not None and costs.cuts else None,
    )


def _search(study: StudyResult) -> tuple[Plot, ...]:
    history, importance, prediction = history_info(study), importance_info(study), prediction_info(study)
    plots = [history_plot(history)] if history.points else []
    if importance.parameters:
        plots.append(importance_plot(importance))
    if prediction.points:
        plots.append(prediction_plot(prediction))
    return tuple(plots)
