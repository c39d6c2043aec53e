"""What stands in for a feature at a partial call: the last one, or the polynomial through the last few."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch

from deepcadence.schedules.provenance import ReuseInfo

__all__ = ["Features", "cuts_needed", "order_of", "polynomial_weights"]

Calls = Sequence[Literal["full"] | int]


def polynomial_weights(known: Sequence[int], call: int, alpha: float = 1.0) -> tuple[float, ...]:
    """How much each of the features of the calls `known` counts at `call`; the weights add up to one.

    The Lagrange polynomial through all of them (a line through two, a parabola through three), of whose step away
    from the feature of `known[0]`, the latest, the part `alpha` is taken: 0 holds that feature, 1 is the polynomial.
    """
    weights = []
    for index, node in enumerate(known):
        weight = 1.0
        for other in (*known[:index], *known[index + 1 :]):
            weight *= (call - other) / (node - other)
        weights.append(alpha * weight + (1 - alpha) * (index == 0))
    return tuple(weights)


def order_of(reuse: ReuseInfo) -> int:
    """How many features before the latest a partial call looks at: none where a part 0 of the step is taken."""
    return 0 if reuse.alpha == 0 else reuse.order or 0


def cuts_needed(calls: Calls, order: int) -> tuple[frozenset[int], ...]:
    """Per call, were it full: the cuts at which the calls after it may still use its feature.

    That is until `order` + 1 other full calls have taken its place.
    """
    needed: list[frozenset[int]] = []
    ahead: frozenset[int] = frozenset()  # cuts before the next full call
    beyond: list[frozenset[int]] = []  # cuts between it and the one after it, and so on
    for call in reversed(calls):
        needed.append(ahead.union(*beyond))
        if call == "full":
            beyond, ahead = [ahead, *beyond][:order], frozenset()
        elif call not in ahead:
            ahead |= {call}
    return tuple(reversed(needed))


class Features:
    """The features that a run holds: per cut in use, those of the last full call, or of `order` + 1 full calls.

    Args:
        reuse: how they are reused.
        needed: per call, the cuts whose feature is kept.
        copies: whether a copy is kept: what a CUDA graph returned is overwritten by the next call.
    """

    def __init__(self, reuse: ReuseInfo, needed: Sequence[frozenset[int]], *, copies: bool = False) -> None:
        self._order, self._alpha = order_of(reuse), 1.0 if reuse.alpha is None else float(reuse.alpha)
        self._needed, self._copies = needed, copies
        self._stored: list[tuple[int, dict[int, torch.Tensor]]] = []  # (call, feature of each cut), the latest first

    def __contains__(self, cut: int) -> bool:
        return bool(self._stored) and cut in self._stored[0][1]

    @property
    def nbytes(self) -> int:
        """Bytes that the features take."""
        held = (feature for _, features in self._stored for feature in features.values())
        return sum(feature.element_size() * feature.nelement() for feature in held)

    def clear(self) -> None:
        """Let go of everything."""
        self._stored = []

    def make_room(self) -> None:
        """Let go of what the next full call replaces; before that call, so that old and new never coexist."""
        del self._stored[self._order :]

    def store(self, call: int, features: Mapping[int, torch.Tensor]) -> None:
        """Keep of the features of a full call those that the schedule may still use."""
        self.make_room()
        kept = {
            cut: feature.clone() if self._copies else feature
            for cut, feature in features.items()
            if cut in self._needed[call]
        }
        self._stored.insert(0, (call, kept))

    def proportions(self, cut: int, call: int) -> list[tuple[int, float]]:
        """For a partial call at `cut`: the full calls whose features stand in for its own, and how much each counts.

        The latest comes first. It is alone where features are held, or where there is no other yet.
        """
        known = [at for at, features in self._stored if cut in features]
        if len(known) == 1:
            return [(known[0], 1.0)]
        return list(zip(known, polynomial_weights(known, call, self._alpha), strict=True))

    def stand_in(self, cut: int, call: int) -> torch.Tensor:
        """The feature for a partial call at `cut`: as stored, or extrapolated from as many as there are."""
        stored = dict(self._stored)
        (last, _), *others = self.proportions(cut, call)
        result = latest = stored[last][cut]
        for at, weight in others:
            feature = stored[at][cut]
            # In this form the weights need not add up to one exactly. A lerp is one kernel and rounds once.
            result = torch.lerp(latest, feature, weight) if result is latest else result + weight * (feature - latest)
        return result
