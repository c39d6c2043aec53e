"""What a study predicted, and how far the measurements agree."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field
from scipy import stats

from deepcadence.search.candidates import Candidate
from deepcadence.search.fields import Escaped, Finite, Record, Whole

LEAST_SPEARMAN = 0.7
"""Predictions that rank measured schedules with less are not used: less than half of the ranks' variance (0.7 squared)
is then explained, and cost alone ranks about as well. With the 19 baselines of a small study, a predictor whose true
rank correlation is 0.9 falls below it once in a hundred times."""

FEWEST = 8
"""Fewer measured schedules than these say nothing about a predictor."""


class Agreement(Record):
    """Spearman's rank correlation of predicted PSNR and measured quality, over n schedules."""

    spearman: float
    n: int

    @property
    def usable(self) -> bool:
        """False where enough was measured to say that the predictor ranks badly."""
        return self.n < FEWEST or self.spearman >= LEAST_SPEARMAN


class PredictorInfo(Record):
    """The predictor of a study.

    Attributes:
        proposed: the front of the predictor, cheapest first.
        predicted: PSNR in dB, by `Candidate.key`, of all baselines that are schedules and of the predicted front.
        samples: search seeds, the first, that it was measured on.
        runs: what that cost, in plain runs over all search seeds, counted in MACs.
        targets: the target speed-ups that were proposed for; None where there was none.
        problem: why there is none; None if there is.
    """

    proposed: tuple[Candidate, ...] = ()
    predicted: dict[str, Finite] = Field(default_factory=dict)
    samples: Whole = 0
    runs: Finite = 0.0
    targets: tuple[Finite | None, ...] = ()
    problem: Escaped | None = None

    def lacks(self, target_speedup: float | None) -> bool:
        """Whether nothing was proposed yet for a target, though it could be."""
        return self.problem is None and target_speedup is not None and target_speedup not in self.targets

    def joined(self, later: PredictorInfo) -> PredictorInfo:
        """With what was proposed later, for another target; what was proposed before is not proposed again."""
        known = {candidate.key for candidate in self.proposed}
        new = tuple(candidate for candidate in later.proposed if candidate.key not in known)
        return self.model_copy(
            update={
                "proposed": self.proposed + new,
                "predicted": later.predicted | self.predicted,
                "runs": self.runs + later.runs,
                "targets": self.targets + later.targets,
            }
        )

    def agreement(self, measured: Mapping[str, float]) -> Agreement | None:
        """How predictions rank what was `measured`, quality by key; None for fewer than three schedules."""
        keys = sorted(self.predicted.keys() & measured.keys())
        if len(keys) < 3:
            return None
        one, two = [self.predicted[key] for key in keys], [measured[key] for key in keys]
        varies = len(set(one)) > 1 and len(set(two)) > 1
        return Agreement(spearman=float(stats.spearmanr(one, two).statistic) if varies else 0.0, n=len(keys))


def words(info: PredictorInfo, agreement: Agreement | None) -> str:
    """The outcome in a sentence or two."""
    if info.problem is not None:
        return f"No schedules were predicted: {info.problem}"
    cost = (
        f"The predictor was measured on {info.samples} of the search seeds, which took as much as {info.runs:.1f} "
        "plain generations of all search seeds."
    )
    if agreement is None:
        return f"Too few schedules were measured to judge the predictor. {cost}"
    ranks = (
        f"Predicted and measured quality of {agreement.n} schedules have a rank correlation (Spearman) of "
        f"{agreement.spearman:.2f}"
    )
    verdict = "" if agreement.usable else f", below {LEAST_SPEARMAN:g}, so predicted schedules were not tried further"
    return f"{ranks}{verdict}. {cost}"
