"""The figures of a report: data, drawing and words, as SVG for the page and as files."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deepcadence.reports._style import figure_style
from deepcadence.reports._svg import inline_svg
from deepcadence.reports._words import partial_call
from deepcadence.reports.comparison import ComparisonInfo, plot_comparison
from deepcadence.reports.costs import CostsInfo, plot_costs
from deepcadence.reports.distance import distance_info, distance_table, plot_distance
from deepcadence.reports.front import FrontInfo, plot_front
from deepcadence.reports.history import HistoryInfo, plot_history
from deepcadence.reports.images import ImagePairsInfo, plot_image_pairs
from deepcadence.reports.importance import ImportanceInfo, plot_importance
from deepcadence.reports.prediction import PredictionInfo, plot_prediction
from deepcadence.reports.similarity import METRIC_NAMES, Metric, SimilarityInfo, plot_similarity, similarity_info
from deepcadence.reports.tables import Table
from deepcadence.reports.timeline import TimelineInfo, plot_timeline

if TYPE_CHECKING:
    from deepcadence.probe import Profile
    from deepcadence.schedules import Schedule

__all__ = [
    "FigureFormat",
    "Plot",
    "comparison_plot",
    "costs_plot",
    "distance_plots",
    "drawn_cuts",
    "front_plot",
    "heat_maps",
    "history_plot",
    "images_plot",
    "importance_plot",
    "prediction_plot",
    "timeline_plot",
]

FigureFormat = Literal["svg", "pdf", "png"]
"""A kind of file that a figure can be written as."""

_FILE: dict[str, dict[str, Any]] = {
    "svg": {"metadata": {"Date": None}},
    "pdf": {"metadata": {"CreationDate": None}},
    "png": {"metadata": {"Software": None}, "dpi": 300},
}
"""What `savefig` is told, so that the same figure gives the same bytes."""

_MAX_MAPS = 32
"""The most cuts of a profile that are drawn; networks of diffusers have 4 to 60."""


@dataclass(frozen=True)
class Plot:
    """One figure: how it is drawn, `size` in inches, and how its table is made. Title and caption are plain text."""

    id: str
    title: str
    caption: str
    size: tuple[float, float]
    draw: Callable[[Axes], object]
    tabulate: Callable[[], Table]

    @property
    def table(self) -> Table:
        """Its data."""
        return self.tabulate()

    @property
    def name(self) -> str:
        """What a file of it is called, without the ending."""
        return self.id.removesuffix("-plot")

    @property
    def svg(self) -> Markup:
        """The figure as an element of the page."""
        return self._drawn[0]

    def places(self, points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        """Where points of the data are on the figure: shares of its width and height, from the upper left corner."""
        if not points:
            return []
        axes = self._drawn[1]
        shares = axes.figure.transSubfigure.inverted().transform(axes.transData.transform(points))
        return [(round(float(x), 4), round(1 - float(y), 4)) for x, y in shares]

    def file(self, kind: FigureFormat) -> bytes:
        """The figure as a file of its own, on white."""
        buffer = io.BytesIO()
        with figure_style():
            self._axes().figure.savefig(buffer, format=kind, facecolor="white", **_FILE[kind])  # type: ignore[union-attr]
        return buffer.getvalue()

    @cached_property
    def _drawn(self) -> tuple[Markup, Axes]:
        axes = self._axes()
        figure = axes.figure
        return Markup(inline_svg(figure, self.id, f"{self.title}. {self.caption}")), axes  # type: ignore[arg-type]  # noqa: S704

    def _axes(self) -> Axes:
        with figure_style():
            axes = Figure(figsize=self.size, layout="constrained").add_subplot()
            self.draw(axes)
        return axes


def drawn_cuts(profile: Profile) -> tuple[int, ...]:
    """The cuts that have a heat map and a line: of very many the cheapest ones."""
    macs = profile.meta.macs.partial
    cheapest = sorted(profile.cuts, key=lambda cut: (macs.get(cut, math.inf), cut))[:_MAX_MAPS]
    return tuple(cut for cut in profile.cuts if cut in set(cheapest))


def heat_maps(profile: Profile, schedule: Schedule | None) -> tuple[Plot, ...]:
    """One heat map per cut, all in the same colors. `schedule` must have as many calls as the profile."""
    infos = [similarity_info(profile, cut, schedule) for cut in drawn_cuts(profile)]
    ranges = [info.finite_range for info in infos]
    limits = (min((low for low, _ in ranges), default=0.0), 1.0)
    return tuple(_heat_map(info, limits) for info in infos)


def _heat_map(info: SimilarityInfo, limits: tuple[float, float]) -> Plot:
    low, high = info.finite_range
    caption = f"From {low:.2f} to {high:.2f} off the diagonal."
    if info.layer:
        caption += f" A partial call {partial_call([info.layer])} {info.layer}."
    return Plot(
        f"similarity-{info.cut}",
        f"Cut {info.cut}",
        caption,
        (3.5, 2.9),
        lambda ax: plot_similarity(info, ax=ax, limits=limits).set_title(""),
        lambda: info.table,
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
        infos = distance_info(profile, metric, cuts=drawn_cuts(profile))
        if not any(info.distances for info in infos):
            continue
        caption += " Bars are the standard deviation over the samples."
        if len(infos) <= 3:
            caption += " The band holds 80% of the pairs: its width is how much the place in the run matters."
        name = "distance-" + metric.replace("_", "-")
        plots.append(
            Plot(name, title, caption, (4.8, 3.1), partial(plot_distance, infos), partial(distance_table, infos))
        )
    return tuple(plots)


def front_plot(info: FrontInfo) -> Plot:
    """Quality against MACs."""
    caption = (
        "Each marker is one trial; up and to the left is better. Circles were searched, diamonds were predicted, "
        "squares are uniform, triangles use the published (c, p); crosses, joined by a dashed line, run the plain "
        "sampler with fewer steps. The step line is the front: no schedule measured is both cheaper and better. Where "
        "the dashed line lies above it, fewer steps win."
    )
    if any(point.chosen for point in info.points):
        caption += " The ring is the chosen schedule."
    caption += " Measured on the search seeds, on which the choice was made."
    if info.left_out:
        trials = "trial is" if info.left_out == 1 else "trials are"
        caption += f" {info.left_out} {trials} not shown: equal to the full run."
    return Plot(
        "front-plot", "Quality against MACs", caption, (4.6, 3.5), partial(plot_front, info), lambda: info.table
    )


def timeline_plot(info: TimelineInfo) -> Plot:
    """The schedule, call by call."""
    caption = (
        f"{info.sentence}. Time runs from noise on the left to the image on the right; a block in the row “full” "
        f"computes the whole network, a block below it only the outer layers at that cut, around {info.feature}."
    )
    if info.calls_per_block > 1:
        caption += f" A block stands for {info.calls_per_block} calls, of which one at least belongs into its row."
    if len(info.shown_cuts) < len(info.cuts):
        caption += f" The {len(info.shown_cuts)} cuts that are used most have a row."
    size = (8.4, 0.75 + 0.34 * (1 + len(info.shown_cuts)))
    return Plot("timeline", "The schedule", caption, size, partial(plot_timeline, info), lambda: info.table)


def comparison_plot(info: ComparisonInfo) -> Plot:
    """PSNR with intervals."""
    caption = (
        "Points are means, lines 95% intervals, the band is the chosen schedule's. Further right is closer to the full "
        "run. As all contenders share their samples, overlapping lines can still differ: the "
        "table's last column decides."
    )
    size = (4.6, 1.0 + 0.38 * len(info.rows))
    return Plot(
        "comparison-plot", "Quality by contender", caption, size, partial(plot_comparison, info), lambda: info.table
    )


def history_plot(info: HistoryInfo) -> Plot:
    """How the front grew."""
    caption = (
        "Each marker is a trial that made the front better. Where the line reaches 100%, the area under the front is "
        "that of the end; a line that still rises at the right says that more trials may find more."
    )
    return Plot("history", "History of the study", caption, (4.8, 3.1), partial(plot_history, info), lambda: info.table)


def importance_plot(info: ImportanceInfo) -> Plot:
    """Which parameters matter."""
    caption = (
        f"Which choices set the best quarter of {info.trials} trials apart, by PED-ANOVA: for quality (filled) and for "
        "low cost (hatched). Bars of a kind add up to 100%. It says what mattered among the trials that were run, not "
        "which value is best."
    )
    size = (4.8, 1.2 + 0.5 * len(info.parameters))
    return Plot("importance", "Parameter importance", caption, size, partial(plot_importance, info), lambda: info.table)


def prediction_plot(info: PredictionInfo) -> Plot:
    """Predicted against measured quality."""
    count = len(info.points)
    caption = f"Each marker is one of {count} trials whose quality was predicted as well as measured."
    if info.metric == "psnr":
        caption += " On the dashed line both are equal; above it, the schedule was better than predicted."
    if info.spearman is not None:
        caption += f" Rank correlation (Spearman): {info.spearman:.2f}."
    return Plot(
        "prediction", "Predicted quality", caption, (4.8, 3.1), partial(plot_prediction, info), lambda: info.table
    )


def costs_plot(info: CostsInfo) -> Plot:
    """MACs per cut."""
    caption = "What a partial call at each cut costs, as a share of a full call."
    if len(info.shown) < len(info.cuts):
        caption += f" The {len(info.shown)} cheapest of {len(info.cuts)} cuts are shown."
    size = (4.8, 0.8 + 0.26 * max(1, len(info.shown)))
    return Plot("costs", "MACs per cut", caption, size, partial(plot_costs, info), lambda: info.table)


def images_plot(info: ImagePairsInfo) -> Plot:
    """Pairs of images, the worst first."""
    caption = f"The worst, the median and the best by PSNR of {info.samples} samples."
    height, width = info.pairs[0].full.shape[:2]
    size = (1.1 + 0.9 * len(info.pairs), 0.5 + 2.7 * height / width)
    return Plot("images-plot", "Pairs of images", caption, size, partial(plot_image_pairs, info), lambda: info.table)
