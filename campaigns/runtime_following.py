"""The oracle of the runtime's campaign: a schedule followed by explicit full and partial calls.

It shares nothing with the runtime but the views, which the contract tests of the families hold to the model: it keeps
every feature, compares shapes itself, and computes what enters a cut by a whole call. One rule is one line here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from deepcadence.schedules import RunStats, Schedule, ScheduleError, family_of
from deepcadence.schedules.families.inputs import parameter_names
from deepcadence.schedules.families.midway import Crossing


def nbytes(tensors: Any) -> int:
    """Bytes of the elements of some tensors."""
    return sum(tensor.element_size() * tensor.nelement() for tensor in tensors)


class Side:
    """One side of the guidance: its calls, its features, and what a run should say that it did."""

    def __init__(self, model: nn.Module, schedule: Schedule) -> None:
        family = family_of(model)
        self.calls, self.reuse = schedule.calls, schedule.reuse
        self.adaptive = schedule.reuse.mode == "adaptive"
        self.views = family.views(model, schedule.cuts)
        self.midway = family.midway(model, schedule.cuts) if self.adaptive else None
        order = 0 if self.reuse.alpha == 0 else self.reuse.order or 0
        self.sample, self.kept = parameter_names(model)[0], order + 1
        self.fulls: list[tuple[int, dict[int, torch.Tensor], dict[int, torch.Tensor]]] = []  # the latest first
        self.shape: torch.Size | None = None
        self.did: list[str] = []
        self.bytes = 0

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = len(self.did)
        if call >= len(self.calls):
            raise ScheduleError("the run makes more calls")
        wanted = self.calls[call]
        sample = args[0] if args else kwargs[self.sample]
        if sample.shape != self.shape:
            self.shape, self.fulls = sample.shape, []
        entered = self._entering(args, kwargs) if self.adaptive else {}
        if wanted != "full" and self.fulls and not (self.adaptive and self._goes_on(wanted, call, entered)):
            self.did.append("partial")
            return self.views.partial(wanted, self._stand_in(wanted, call), *args, **kwargs)
        self.did.append("full" if wanted == "full" else "went on" if self.fulls else "forced")
        output, features = self.views.full(*args, **kwargs)
        self.fulls.insert(0, (call, features, entered))
        self.bytes = max(self.bytes, self._held())
        return output

    def _entering(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[int, torch.Tensor]:
        assert self.midway is not None  # noqa: S101 - for the type checker
        crossing = Crossing()
        self.midway(crossing, *args, **kwargs)
        return crossing.entered

    def _goes_on(self, cut: int, call: int, entered: dict[int, torch.Tensor]) -> bool:
        last, _, before = self.fulls[0]
        if self.reuse.max_hold is not None and call - last > self.reuse.max_hold:
            return True
        rows = [now.float() for now in entered[cut]], [then.float() for then in before[cut]]
        changes = [((now - then).norm() / now.norm()).item() for now, then in zip(*rows, strict=True)]
        return not max(changes) <= (self.reuse.threshold or 0)

    def _stand_in(self, cut: int, call: int) -> torch.Tensor:
        """The feature at `cut`: the last, or the line or parabola through the last two or three."""
        known = [(at, features[cut]) for at, features, _ in self.fulls[: self.kept]]
        (zero, latest), alpha = known[0], 1.0 if self.reuse.alpha is None else float(self.reuse.alpha)
        if len(known) == 1 or alpha == 0:
            return latest
        one, before = known[1]
        if len(known) == 2:
            return torch.lerp(latest, before, alpha * ((call - zero) / (one - zero)))
        two, first = known[2]
        result = torch.lerp(latest, before, alpha * ((call - zero) / (one - zero) * ((call - two) / (one - two))))
        return result + alpha * ((call - zero) / (two - zero) * ((call - one) / (two - one))) * (first - latest)

    def _held(self) -> int:
        """Bytes of what later calls may use: of the last full calls, the cuts until `kept` more of them are planned."""
        total = 0
        for at, features, entered in self.fulls[: self.kept]:
            ahead, planned = set(), 0
            for entry in self.calls[at + 1 :]:
                planned += entry == "full"
                if planned == self.kept:
                    break
                ahead.add(entry)
            total += nbytes(
                tensor for tensors in (features, entered) for cut, tensor in tensors.items() if cut in ahead
            )
        return total


class Following:
    """A denoiser's forward that follows a schedule; `leave()` makes the calls from then on plain ones."""

    def __init__(self, model: nn.Module, schedule: Schedule, sides: int) -> None:
        self.plain = type(model).forward.__get__(model)
        self.sides = [Side(model, schedule) for _ in range(sides)]
        self.turn, self.left = 0, False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.left:
            return self.plain(*args, **kwargs)
        side = self.sides[self.turn % len(self.sides)]
        self.turn += 1
        return side(args, kwargs)

    def leave(self) -> None:
        """The schedule is detached in the middle of a run."""
        self.left = True

    def stats(self) -> RunStats:
        """What the runtime should report; of forced calls, the numbers alone."""
        did = [(call, what) for side in self.sides for call, what in enumerate(side.did)]
        numbers = {name: tuple(sorted(call for call, what in did if what == name)) for name in ("forced", "went on")}
        partial = sum(what == "partial" for _, what in did)
        return RunStats(
            calls=len(did),
            full=len(did) - partial,
            partial=partial,
            forced=tuple((call, "") for call in numbers["forced"]),
            bytes_held=sum(side.bytes for side in self.sides),
            macs=None if did else 0,
            went_on=numbers["went on"],
        )
