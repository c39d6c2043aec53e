"""The figures of a report, drawn and put into words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deepcadence.reports._style import figure_style
from deepcadence.reports._svg import inline_svg
from deepcadence.reports.comparison import ComparisonInfo, plot_comparison
from deepcadence.reports.distance import distance_info, plot_distance
from deepcadence.reports.front import FrontInfo, plot_front
from deepcadence.reports.similarity import METRIC_NAMES, Metric, SimilarityInfo, plot_similarity, similarity_info
from deepcadence.reports.timeline import TimelineInfo, plot_timeline

if TYPE_CHECKING:
    from deepcadence.probe import Profile
    from deepcadence.schedules import Schedule

__all__ = ["Plot", "comparison_plot", "distance_plots", "front_plot", "heat_maps", "timeline_plot"]


@dataclass(frozen=True)
class Plot:
    """One figure of the page. `svg` is markup that `inline_svg` made; title and caption are plain text."""

    id: str
    title: str
    caption: str
    svg: Markup


def _draw(name: str, title: str, caption: str, size: tuple[float, float], plot: Callable[[Axes], object]) -> Plot:
    with figure_style():
        figure = Figure(figsize=size, layout="constrained")
        plot(figure.add_subplot())
    return Plot(name, title, caption, Markup(inline_svg(figure, name, f"{title}. {caption}")))  # noqa: S704


def heat_maps(profile: Profile, schedule: Schedule | None) -> tuple[Plot, ...]:
    """One heat map per cut, all in the same colors. `schedule` must have as many calls as the profile."""
    infos = [similarity_info(profile, cut, schedule) for cut in profile.cuts]
    ranges = [info.finite_range for info in infos]
    limits = (min((low for low, _ in ranges), default=0.0), 1.0)
    return tuple(_heat_map(info, limits) for info in infos)


def _heat_map(info: SimilarityInfo, limits: tuple[float, float]) -> Plot:
    low, high = info.finite_range
    caption = f"From {low:.2f} to {high:.2f} off the diagonal."
    if info.layer:
        caption += f" Runs again from {info.layer}."
    return _draw(
        f"similarity-{info.cut}",
        f"Cut {info.cut}",
        caption,
        (3.5, 2.9),
        lambda ax: plot_similarity(info, ax, limits=limits).set_title(""),
    )


def distance_plots(profile: Profile) -> tuple[Plot, ...]:
    """Similarity against distance, and the output error against distance where the profile holds one."""
    words: dict[Metric, tuple[str, str]] = {
        "cosine": (
            "Similarity against distance",
            "Each line is one cut: the mean cosine similarity of two calls that lie so many calls apart. "
            "A line that stays high can be cached for long.",
        ),
        "output_error": (
            "Output error against distance",
            f"The {METRIC_NAMES['output_error']} of the denoiser when it reuses a feature from so many calls before. "
            "Lower is better.",
        ),
    }
    plots = []
    for metric, (title, caption) in words.items():
        infos = distance_info(profile, metric)
        if not any(info.distances for info in infos):
            continue
        if len(infos) <= 3:
            caption += " The band holds 80% of the pairs: its width is how much the place in the run matters."
        name = "distance-" + metric.replace("_", "-")
        plots.append(_draw(name, title, caption, (4.8, 3.1), lambda ax, infos=infos: plot_distance(infos, ax)))  # type: ignore[misc]
    return tuple(plots)


def front_plot(info: FrontInfo) -> Plot:
    """Quality against MACs."""
    caption = (
        "Each marker is one trial; up and to the left is better. Circles were searched, squares are uniform, triangles "
        "use the published (c, p); crosses, joined by a dashed line, run the plain sampler with fewer steps. The step "
        "line is the front: no schedule measured is both cheaper and better. Where the dashed line lies above it, "
        "fewer steps win."
    )
    if any(point.chosen for point in info.points):
        caption += " The ring is the chosen schedule."
    caption += " Measured on the search seeds, on which the choice was made."
    if info.left_out:
        trials = "trial is" if info.left_out == 1 else "trials are"
        caption += f" {info.left_out} {trials} not shown: equal to the full run."
    return _draw("front-plot", "Quality against MACs", caption, (5.2, 3.7), lambda ax: plot_front(info, ax))


def timeline_plot(info: TimelineInfo) -> Plot:
    """The schedule, call by call."""
    caption = (
        f"{info.sentence}. Time runs from noise on the left to the image on the right; a block in the row “full” "
        f"computes the whole network, a block below it only the outer layers at that cut, around {info.feature}."
    )
    size = (8.4, 0.75 + 0.34 * (1 + len(info.cuts)))
    return _draw("timeline", "The schedule", caption, size, lambda ax: plot_timeline(info, ax))


def comparison_plot(info: ComparisonInfo) -> Plot:
    """PSNR with intervals."""
    caption = (
        "Points are means, lines 95% intervals, the band is the chosen schedule's. Further right is closer to the full "
        "run. As all contenders share their samples, overlapping lines can still differ: the "
        "table's last column decides."
    )
    size = (5.2, 1.0 + 0.38 * len(info.rows))
    return _draw("comparison-plot", "Quality by contender", caption, size, lambda ax: plot_comparison(info, ax))
