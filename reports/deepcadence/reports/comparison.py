"""The chosen schedule next to its rivals on held-out seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from deepcadence.reports._origins import ORIGIN_LOOKS
from deepcadence.reports._style import CHOSEN, SEARCH, axes_or_new, figure_style
from deepcadence.reports._words import in_two_lines
from deepcadence.reports.tables import Table

if TYPE_CHECKING:
    from deepcadence.search import Comparison, HeldOut

__all__ = ["ComparisonInfo", "Outcome", "comparison_info", "plot_comparison"]

Outcome = Literal["wins", "loses", "undecided"]
"""How the chosen schedule does against its rivals."""


@dataclass(frozen=True)
class ComparisonInfo:
    """The chosen schedule first, then its rivals, all on the same samples. `verdict` is `HeldOut.verdict`."""

    rows: tuple[Comparison, ...]
    verdict: str
    outcome: Outcome | None

    @property
    def chosen(self) -> Comparison:
        """The row of the chosen schedule."""
        return self.rows[0]

    @property
    def samples(self) -> int:
        """How many samples were measured."""
        return self.chosen.psnr.samples

    @property
    def table(self) -> Table:
        """One row per contender. Intervals are 95%; differences are chosen minus this, paired by seed, in dB."""
        columns = ("label", "origin", "full_calls", "partial_calls", "mean_macs", "speedup", "wall_speedup")
        names = ("psnr", "ssim", "psnr_difference")
        rows = []
        for row in self.rows:
            figures = [getattr(row, name) for name in names]
            cells = [(x.mean, *x.ci95) if x is not None else (None, None, None) for x in figures]
            rows.append((*(getattr(row, name) for name in columns), *(cell for three in cells for cell in three)))
        return Table((*columns, *(name + end for name in names for end in ("", "_low", "_high"))), tuple(rows))


def comparison_info(held_out: HeldOut) -> ComparisonInfo:
    """The rows of `held_out`, and how the chosen schedule does against the others.

    Decided only where the 95% interval of a paired difference in PSNR leaves zero out. The schedule loses if any rival
    is better, be it fewer steps or a uniform schedule, and wins if it does not lose and fewer steps are worse.
    """
    rivals = [row for row in held_out.rows[1:] if row.psnr_difference is not None]
    worse = [row for row in rivals if row.psnr_difference and row.psnr_difference.ci95[0] > 0]
    outcome: Outcome | None = None
    if any(row.psnr_difference and row.psnr_difference.ci95[1] < 0 for row in rivals):
        outcome = "loses"
    elif any(row.origin == "fewer_steps" for row in worse):
        outcome = "wins"
    elif rivals:
        outcome = "undecided"
    return ComparisonInfo(tuple(held_out.rows), held_out.verdict, outcome)


def plot_comparison(source: ComparisonInfo | HeldOut, ax: Axes | None = None) -> Axes:
    """Draws PSNR with its 95% interval per contender, each in its own row and with the marker of its origin."""
    info = source if isinstance(source, ComparisonInfo) else comparison_info(source)
    with figure_style():
        ax = axes_or_new(ax, 5.0, 0.9 + 0.42 * len(info.rows))
        for place, row in enumerate(info.rows):
            color, marker, _ = ORIGIN_LOOKS.get(row.origin, (CHOSEN, "o", 0.0))
            low, high = row.psnr.ci95
            ax.plot([low, high], [place, place], color=color, linewidth=2.2, solid_capstyle="round")
            ax.plot([row.psnr.mean], [place], color=color, marker=marker, markersize=7, markeredgewidth=0)
        low, high = info.chosen.psnr.ci95
        ax.axvspan(low, high, color=SEARCH, alpha=0.08, linewidth=0, zorder=0)
        ax.set_yticks(range(len(info.rows)), [in_two_lines(row.label) for row in info.rows])
        for label in ax.get_yticklabels():
            label.set_parse_math(False)  # a "$" in a label starts no formula
        ax.tick_params(axis="y", length=0)
        ax.set_ylim(len(info.rows) - 0.4, -0.6)
        ax.xaxis.set_major_locator(MaxNLocator(nbins=6))
        # at the right end of the axis: beside long names it is short, and the words would run over the edge
        ax.set_xlabel("PSNR to the full run (dB), mean and 95% interval", loc="right")
        ax.grid(axis="x")
        ax.spines["left"].set_visible(False)
    return ax
