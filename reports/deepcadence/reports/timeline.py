"""A schedule, call by call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Final

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from deepcadence.reports._style import GRID, INK, SEARCH, axes_or_new, figure_style
from deepcadence.reports.tables import Table
from deepcadence.schedules.fields import MANY_CUTS, cuts_text

if TYPE_CHECKING:
    from deepcadence.schedules import Schedule

MAX_CALLS: Final = 1000
"""Of longer schedules, a block of the drawing stands for several calls."""
_BLOCKS: Final = 500


@dataclass(frozen=True)
class TimelineInfo:
    """The calls of a schedule. `calls[t]` is None for a full call and the cut for a partial one.

    `order` is 0 where features are held, 1 or 2 where they are extrapolated along a line or a parabola, `alpha` of the
    way. `threshold` is that of an adaptive schedule, whose partial calls may go on to full ones; None for others.
    """

    calls: tuple[int | None, ...]
    cuts: tuple[int, ...]
    full_calls: tuple[int, ...]
    order: int = 0
    alpha: float = 1.0
    threshold: float | None = None

    @property
    def intervals(self) -> tuple[int, ...]:
        """Calls from each full call up to the next one (or the end), itself counted."""
        ends = (*self.full_calls[1:], len(self.calls))
        return tuple(end - start for start, end in zip(self.full_calls, ends, strict=True))

    @property
    def num_partial(self) -> int:
        """Number of partial calls."""
        return len(self.calls) - len(self.full_calls)

    @property
    def shown_cuts(self) -> tuple[int, ...]:
        """Cuts that have a row of their own: the most used ones, where a schedule has more than any model."""
        if len(self.cuts) <= MANY_CUTS:
            return self.cuts
        used = Counter(call for call in self.calls if call is not None)
        return tuple(sorted(cut for cut, _ in used.most_common(MANY_CUTS)))

    @property
    def calls_per_block(self) -> int:
        """How many calls a block of the drawing stands for."""
        return 1 if len(self.calls) <= MAX_CALLS else -(-len(self.calls) // _BLOCKS)

    @property
    def feature(self) -> str:
        """Which feature a partial call uses, in words."""
        if self.order:
            curve = "line" if self.order == 1 else "parabola"
            way = "on" if self.alpha == 1 else f"{self.alpha:g} of the way along"
            return f"the feature {way} the {curve} through those of the last {self.order + 1} full calls"
        return "the feature that the last full call stored"

    @property
    def sentence(self) -> str:
        """What the timeline shows, in words."""
        text = f"{len(self.calls)} calls: {len(self.full_calls)} full, {self.num_partial} partial"
        if self.cuts:
            text += f" at {cuts_text(self.cuts)}"
        if self.threshold is not None:
            return f"{text}, or full where the input changed by more than {self.threshold:g}"
        shortest, longest = min(self.intervals), max(self.intervals)
        every = str(shortest) if shortest == longest else f"{shortest} to {longest}"
        return f"{text}; a full call every {every} calls" if longest > 1 else text

    @property
    def table(self) -> Table:
        """One row per call; a full one has no cut."""
        return Table(("call", "full", "cut"), tuple((t, cut is None, cut) for t, cut in enumerate(self.calls)))


def timeline_info(schedule: Schedule) -> TimelineInfo:
    """The calls of `schedule`, ready to draw."""
    calls = tuple(None if call == "full" else int(call) for call in schedule.calls)
    reuse = schedule.reuse
    return TimelineInfo(
        calls=calls,
        cuts=schedule.cuts,
        full_calls=schedule.full_calls,
        order=reuse.order or 0,
        alpha=1.0 if reuse.alpha is None else reuse.alpha,
        threshold=reuse.threshold,
    )


def plot_timeline(source: TimelineInfo | Schedule, ax: Axes | None = None) -> Axes:
    """Draws one row for full calls and one per cut in use; a call is a block in its row, so color carries nothing.

    Of more than 1,000 calls, a block stands for several, one of which at least belongs into the row. Of more than 60
    cuts, the most used have a row.
    """
    info = source if isinstance(source, TimelineInfo) else timeline_info(source)
    rows: list[int | None] = [*info.shown_cuts, None]
    with figure_style():
        ax = axes_or_new(ax, 7.2, 0.75 + 0.32 * len(rows))
        for row, kind in enumerate(rows):
            ax.add_patch(Rectangle((-0.5, row - 0.36), len(info.calls), 0.72, color=GRID, alpha=0.35, linewidth=0))
            color = INK if kind is None else SEARCH
            for start, end in _blocks(info, kind):
                ax.add_patch(Rectangle((start, row - 0.36), end - start, 0.72, color=color, linewidth=0))
        for start in info.full_calls[1:] if info.calls_per_block == 1 else ():
            ax.axvline(start - 0.5, color=GRID, linewidth=0.8, zorder=0)
        ax.set_xlim(-0.6, len(info.calls) - 0.4)
        ax.set_ylim(-0.55, len(rows) - 0.45)
        ax.set_yticks(range(len(rows)), ["full" if kind is None else f"cut {kind}" for kind in rows])
        ax.tick_params(axis="y", length=0, labelcolor=INK)
        ax.xaxis.set_major_locator(MaxNLocator(nbins=11, integer=True))
        ax.set_xlabel("call (the run goes from noise, left, to the image, right)")
        ax.spines["left"].set_visible(False)
    return ax


def _blocks(info: TimelineInfo, kind: int | None) -> Iterator[tuple[float, float]]:
    """Where the blocks of a row begin and end. Those that stand for several calls are joined where they touch."""
    step = info.calls_per_block
    places = sorted({call // step for call, entry in enumerate(info.calls) if entry == kind})
    if step == 1:
        yield from ((place - 0.42, place + 0.42) for place in places)
        return
    for _, run in groupby(enumerate(places), lambda numbered: numbered[1] - numbered[0]):
        found = [place for _, place in run]
        yield found[0] * step - 0.5, min((found[-1] + 1) * step, len(info.calls)) - 0.5
