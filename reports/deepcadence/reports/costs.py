"""What a full call and a partial call at each cut cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from matplotlib.axes import Axes

from deepcadence.reports._style import GRID, INK, SEARCH, axes_or_new, figure_style
from deepcadence.reports.front import macs_text
from deepcadence.reports.tables import Table
from deepcadence.schedules.fields import MANY_CUTS

if TYPE_CHECKING:
    from deepcadence.probe import Macs, Profile


@dataclass(frozen=True)
class CutCost:
    """MACs of one partial call at `cut`, per sample, and as a share of a full call."""

    cut: int
    layer: str
    macs: int
    share: float


@dataclass(frozen=True)
class CostsInfo:
    """MACs of a call per sample, by the rules of `counter`; classifier-free guidance is not folded in."""

    counter: str
    full_macs: int
    sample_shape: tuple[int, ...]
    cuts: tuple[CutCost, ...]

    @property
    def shown(self) -> tuple[CutCost, ...]:
        """The cuts that are drawn: the cheapest ones, where there are more than any model has."""
        cheapest = sorted(self.cuts, key=lambda cut: (cut.macs, cut.cut))[:MANY_CUTS]
        return tuple(sorted(cheapest, key=lambda cut: cut.cut))

    @property
    def table(self) -> Table:
        """The full call first (no cut), then one row per cut."""
        partial = ((cut.cut, cut.layer, cut.macs, cut.share) for cut in self.cuts)
        return Table(("cut", "layer", "macs", "share"), ((None, "", self.full_macs, 1.0), *partial))


def costs_info(macs: Macs, layers: Mapping[int, str] | None = None) -> CostsInfo:
    """The table of `macs`, with the layer that each cut re-runs from: `layers`, or those that `macs` names."""
    layers = layers or macs.layers
    full = int(macs.full)
    cuts = (
        CutCost(cut=cut, layer=layers.get(cut, ""), macs=int(partial), share=partial / full if full else 0.0)
        for cut, partial in sorted(macs.partial.items())
    )
    return CostsInfo(counter=macs.counter, full_macs=full, sample_shape=tuple(macs.sample_shape), cuts=tuple(cuts))


def plot_costs(source: CostsInfo | Profile, ax: Axes | None = None) -> Axes:
    """Draws a bar per cut, of more than 60 those of the cheapest: the share of a full call that a partial one costs."""
    info = source if isinstance(source, CostsInfo) else costs_info(source.meta.macs, source.meta.model.cuts)
    with figure_style():
        ax = axes_or_new(ax, 4.8, 0.8 + 0.26 * max(1, len(info.shown)))
        rows = range(len(info.shown))
        ax.barh(rows, [1.0] * len(info.shown), color=GRID, height=0.66, alpha=0.6)
        ax.barh(rows, [cut.share for cut in info.shown], color=SEARCH, height=0.66)
        for row, cut in enumerate(info.shown):
            ax.text(cut.share + 0.015, row, f"{cut.share:.0%}", va="center", color=INK)
        ax.set_yticks(rows, [f"cut {cut.cut}" for cut in info.shown])
        ax.set_xlim(0, 1.08)
        ax.set_xticks([0, 0.25, 0.5, 0.75, 1.0], ["0", "25%", "50%", "75%", "100%"])
        ax.set_xlabel(f"MACs of a partial call, as a share of a full one ({macs_text(info.full_macs)} GMACs)")
        ax.invert_yaxis()
    return ax
