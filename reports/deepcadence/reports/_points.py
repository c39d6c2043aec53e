"""The points of the front on the page: what each says, and the schedule that it gives."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from deepcadence.reports._origins import ORIGIN_NAMES
from deepcadence.reports._plots import Plot
from deepcadence.reports._words import named, times
from deepcadence.reports.front import FrontInfo, FrontPoint, giga, macs_text
from deepcadence.schedules import Schedule

__all__ = ["Points", "TrialPoint", "front_points"]

_MAX_POINTS: Final = 1000
_BUDGET_CHARACTERS: Final = 700_000


@dataclass(frozen=True)
class TrialPoint:
    """One trial: numbers to sort by, and texts to show. `left` and `top` are its place on the figure, as shares.

    `json` is its schedule file, and `note` says why there is none, where there is none.
    """

    number: int
    label: str
    origin: str
    macs: float
    macs_text: str
    speedup: float
    speedup_text: str
    quality: float
    quality_text: str
    on_front: bool
    chosen: bool
    left: float
    top: float
    json: str
    note: str

    def shown(self, metric: str) -> dict[str, Any]:
        """What the script of the page reads."""
        names = ("number", "label", "left", "top", "json", "note")
        facts = [self.origin, f"{metric} {self.quality_text}", f"{self.speedup_text} fewer MACs"]
        facts += ["on the front"] * self.on_front + ["the chosen schedule"] * self.chosen
        return {name: value for name, value in asdict(self).items() if name in names} | {"facts": ", ".join(facts)}


@dataclass(frozen=True)
class Points:
    """The trials shown, by number, and how many more there are."""

    metric: str
    trials: tuple[TrialPoint, ...]
    left_out: int

    @property
    def data(self) -> list[dict[str, Any]]:
        """What the script of the page reads, the points from left to right."""
        return [trial.shown(self.metric) for trial in sorted(self.trials, key=lambda trial: (trial.macs, trial.number))]


def front_points(info: FrontInfo, plot: Plot, chosen: Schedule | None) -> Points:
    """The points of `info` where `plot` has them; the chosen one gives the schedule `chosen` itself.

    The page stays small: of many trials the first ones are shown, and the last of these without their schedules. The
    front and the chosen one come first.
    """
    order = sorted(info.points, key=lambda point: (not point.chosen, not point.on_front, point.number))[:_MAX_POINTS]
    places = plot.places([(giga(point.macs), point.quality) for point in order])
    trials, used = [], 0
    for point, place in zip(order, places, strict=True):
        schedule = chosen if point.chosen and chosen is not None else point.schedule
        text = "" if schedule is None else schedule.dumps()
        used += len(text)
        trials.append(_trial(info, point, place, text, fits=used <= _BUDGET_CHARACTERS))
    return Points(
        metric=named(info.metric.upper()),
        trials=tuple(sorted(trials, key=lambda trial: trial.number)),
        left_out=len(info.points) - len(trials),
    )


def _trial(info: FrontInfo, point: FrontPoint, place: tuple[float, float], text: str, *, fits: bool) -> TrialPoint:
    note = ""
    if not text:
        note = "The plain sampler with fewer steps: there is no schedule to load."
    elif not fits:
        note = f"Left out to keep this page small: trial {point.number} of the study holds the schedule."
    quality = f"{point.quality:.2f} dB" if info.metric == "psnr" else f"{point.quality:.4f}"
    return TrialPoint(
        number=point.number,
        label=named(point.label),
        origin=ORIGIN_NAMES[point.origin],
        macs=point.macs,
        macs_text=macs_text(point.macs),
        speedup=point.speedup,
        speedup_text=times(point.speedup),
        quality=point.quality,
        quality_text=quality,
        on_front=point.on_front,
        chosen=point.chosen,
        left=place[0],
        top=place[1],
        json=text if fits else "",
        note=note,
    )
