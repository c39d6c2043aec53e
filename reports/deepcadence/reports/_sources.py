"""What a report is made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepcadence.reports.images import ImagePairsInfo

if TYPE_CHECKING:
    from deepcadence.probe import Profile
    from deepcadence.schedules import Schedule
    from deepcadence.search import HeldOut, StudyResult

__all__ = ["Sources"]


@dataclass(frozen=True)
class Sources:
    """All that a report may be made from; what is missing leaves its sections out."""

    profile: Profile | None = None
    study: StudyResult | None = None
    held_out: HeldOut | None = None
    schedule: Schedule | None = None
    images: ImagePairsInfo | None = None
    title: str | None = None
    commands: Sequence[str] = ()

    @property
    def chosen(self) -> Schedule | None:
        """The schedule, or else that of the held-out comparison."""
        return self.schedule or (self.held_out.schedule if self.held_out is not None else None)

    def check(self) -> None:
        """Raise `ValueError` if there is nothing to report on."""
        if self.profile is None and self.study is None and self.chosen is None:
            raise ValueError("nothing to report: give a profile, a study, a held-out comparison or a schedule")
