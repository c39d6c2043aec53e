"""What a report was measured on, in names and values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepcadence.reports.costs import CostsInfo, CutCost, costs_info
from deepcadence.reports.front import macs_text

if TYPE_CHECKING:
    from deepcadence.probe import Profile, Setup
    from deepcadence.schedules import ModelInfo, SamplerInfo, Schedule
    from deepcadence.search import HeldOut, StudyResult

__all__ = ["Measured"]


@dataclass(frozen=True)
class Measured:
    """What is known about the model and the runs, from whichever source has it; the profile is asked first."""

    profile: Profile | None
    study: StudyResult | None
    held_out: HeldOut | None
    schedule: Schedule | None

    @property
    def model(self) -> ModelInfo | None:
        """The denoiser."""
        found = (
            self.profile.meta.model if self.profile is not None else None,
            self.study.model if self.study is not None else None,
            self.schedule.model if self.schedule is not None else None,
        )
        return next((info for info in found if info is not None), None)

    @property
    def sampler(self) -> SamplerInfo | None:
        """The scheduler of the pipeline."""
        found = (
            self.profile.meta.sampler if self.profile is not None else None,
            self.study.sampler if self.study is not None else None,
            self.schedule.sampler if self.schedule is not None else None,
        )
        return next((info for info in found if info is not None), None)

    @property
    def num_calls(self) -> int | None:
        """Calls of the denoiser in a run."""
        sources = (self.schedule, self.profile, self.study)
        return next((source.num_calls for source in sources if source is not None), None)

    @property
    def costs(self) -> CostsInfo | None:
        """MACs per cut, of the profile or else of the schedule."""
        if self.profile is not None and self.profile.meta.macs is not None:
            return costs_info(self.profile.meta.macs, self.profile.meta.model.cuts)
        layers = self.model.cuts if self.model is not None else {}
        if self.study is not None:
            return _costs(
                self.study.counter, self.study.full_macs, self.study.partial_macs, self.study.sample_shape, layers
            )
        cost = self.schedule.cost if self.schedule is not None else None
        if cost is None:
            return None
        return _costs(cost.counter, cost.full_macs, cost.partial_macs, cost.sample_shape or (), layers)

    @property
    def subtitle(self) -> str:
        """One line under the title."""
        parts = [f"{self.num_calls} calls a run"] if self.num_calls is not None else []
        if self.sampler is not None:
            parts.append(self.sampler.class_name)
        if self.held_out is not None:
            parts.append(f"{len(self.held_out.seeds)} held-out samples")
        if self.study is not None:
            parts.append(f"{len(self.study.trials)} trials")
        return " · ".join(parts)

    def facts(self, versions: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        """(name, value) pairs, without those that nothing is known about; `versions` are those of now."""
        model, sampler, costs = self.model, self.sampler, self.costs
        rows = [
            ("Denoiser", _with_hash(model.class_name, model.config_sha256) if model else ""),
            ("Sampler", _with_hash(sampler.class_name, sampler.config_sha256) if sampler else ""),
            ("Calls of the denoiser per run", f"{self.num_calls}" if self.num_calls is not None else ""),
            ("Profile", self._profile()),
            ("Search", self._search()),
            ("Predictor", (self.study.predictor_words or "") if self.study else ""),
            ("Held-out comparison", _seeds(self.held_out.seeds) if self.held_out else ""),
            ("MACs of a full call", f"{macs_text(costs.full_macs)} GMACs, counter “{costs.counter}”" if costs else ""),
            ("Schedule written", self._created()),
            *self._machines(),
            *self._versions(versions),
        ]
        return tuple((name, value) for name, value in rows if value)

    def commands(self, last: Sequence[str] = ()) -> tuple[str, ...]:
        """What was typed for the profile and for the study, where that is known, and then `last`."""
        found = [setup.command for setup in self._setups.values()]
        return tuple(dict.fromkeys(line for line in (*found, *last) if line))

    @property
    def _setups(self) -> dict[str, Setup]:
        """What was measured -> with what."""
        found = {"profile": self.profile.meta.setup} if self.profile is not None else {}
        return found | ({"search": self.study.setup} if self.study is not None else {})

    def _machines(self) -> list[tuple[str, str]]:
        found: dict[str, list[str]] = {}
        for what, setup in self._setups.items():
            found.setdefault(setup.machine, []).append(what)
        return [(f"Machine ({', '.join(names)})", text) for text, names in found.items() if text]

    def _versions(self, now: Mapping[str, str]) -> list[tuple[str, str]]:
        """One row for each set of versions; those that are equal share one."""
        texts: dict[str, list[str]] = {}
        for what, versions in (*((what, setup.versions) for what, setup in self._setups.items()), ("report", now)):
            texts.setdefault(", ".join(f"{name} {number}" for name, number in versions.items()), []).append(what)
        return [(f"Versions ({', '.join(names)})", text) for text, names in texts.items()]

    def _profile(self) -> str:
        if self.profile is None:
            return ""
        meta = self.profile.meta
        text = f"{_seeds(meta.seeds)}, {len(meta.cuts)} cuts, {meta.dtype} on {meta.device}"
        if meta.projection is not None:
            text += ", features randomly projected"
        return f"{text}; by {meta.created.by}, {meta.created.at}"

    def _search(self) -> str:
        if self.study is None:
            return ""
        failed = f", {len(self.study.failed)} failed" if self.study.failed else ""
        return (
            f"study “{self.study.study_name}”, {len(self.study.trials)} trials{failed}, {_seeds(self.study.seeds)}; "
            f"it cost as much as {self.study.search_cost:.1f} full runs over these seeds. {self.study.savings_words}"
            f"{' ' + self.study.repeatable_words if self.study.repeatable_words else ''}"
        )

    def _created(self) -> str:
        created = self.schedule.created if self.schedule is not None else None
        return f"by {created.by}, {created.at}" if created is not None else ""


def _costs(
    counter: str, full: int, partial: Mapping[int, int], shape: tuple[int, ...], layers: Mapping[int, str]
) -> CostsInfo:
    rows = (CutCost(cut, layers.get(cut, ""), macs, macs / full) for cut, macs in sorted(partial.items()))
    return CostsInfo(counter, full, shape, tuple(rows))


def _with_hash(name: str, digest: str | None) -> str:
    return f"{name}, config {digest[:12]}" if digest else name


def _seeds(seeds: Sequence[int]) -> str:
    """`16 seeds (0 to 15)`, or the seeds one by one where they have gaps."""
    if not seeds:
        return "no seeds"
    if len(seeds) == 1:
        return f"1 seed ({seeds[0]})"
    if list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"{len(seeds)} seeds ({seeds[0]} to {seeds[-1]})"
    shown = ", ".join(map(str, seeds[:8]))
    return f"{len(seeds)} seeds ({shown}{', ...' if len(seeds) > 8 else ''})"
