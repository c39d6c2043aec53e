"""A run in which the input decides: a partial call goes on to a full one where what enters the cut changed too much."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Literal

import torch

from deepcadence.schedules.controlnet import HeldControlNet
from deepcadence.schedules.families.midway import Crossing
from deepcadence.schedules.run import Plan, Run, RunStats

__all__ = ["AdaptiveRun", "new_run", "relative_change"]


def relative_change(now: torch.Tensor, then: torch.Tensor) -> torch.Tensor:
    """How far `now` is from `then`, both (rows, ...): ||now - then|| / ||now||, the largest of all rows; a scalar.

    Rows are the samples of a batch, the sides of guidance among them, and the frames of a video. Norms are taken in
    float32. Not a number where a row is zero and was so.
    """
    dims = tuple(range(1, now.ndim))
    moved: torch.Tensor = torch.linalg.vector_norm(now - then, dim=dims, dtype=torch.float32)
    whole: torch.Tensor = torch.linalg.vector_norm(now, dim=dims, dtype=torch.float32)
    return (moved / whole).max()


class AdaptiveRun(Run):
    """State of one run with reuse "adaptive". A call that may be partial reads the device once, no other does."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self._entered: dict[int, torch.Tensor] = {}
        self._last_full = 0
        self._went_on: list[int] = []

    def stats(self) -> RunStats:
        """See `Run.stats`."""
        return RunStats(**{**vars(super().stats()), "went_on": tuple(self._went_on)})

    def close(self) -> None:
        """See `Run.close`."""
        super().close()
        self._entered = {}

    def _build(self) -> Hashable:
        plan = self._plan
        self._midway = plan.family.midway(plan.model, plan.schedule.cuts)
        return plan.family.state(plan.model)

    def _run_full(self, key: dict[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._let_go()
        crossing = Crossing()
        output = self._midway(crossing, *args, **kwargs)
        self._keep(key, crossing)
        return output

    def _run_partial(
        self, cut: int, key: dict[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Literal["full"] | int, Any]:
        most = self._plan.schedule.reuse.max_hold
        if most is not None and self._calls - self._last_full > most:
            self._went_on.append(self._calls)
            return "full", self._run_full(key, args, kwargs)
        crossing = Crossing(cut, self._features.stand_in(cut, self._calls), lambda now: self._is_near(cut, now))
        output = self._midway(crossing, *args, **kwargs)
        if crossing.turned_back:
            return cut, output
        self._went_on.append(self._calls)
        self._keep(key, crossing)
        return "full", output

    def _is_near(self, cut: int, now: torch.Tensor) -> bool:
        """Whether what enters `cut` is within the threshold of what entered it at the last full call: the one read."""
        near = bool(relative_change(now, self._entered[cut]) <= (self._plan.schedule.reuse.threshold or 0))
        if not near:
            self._let_go()
        return near

    def _let_go(self) -> None:
        """Old and new features, and what entered, never coexist."""
        self._features.make_room()
        self._entered = {}

    def _keep(self, key: dict[str, Any], crossing: Crossing) -> None:
        needed = self._plan.needed[self._calls]
        self._entered = {cut: tensor for cut, tensor in crossing.entered.items() if cut in needed}
        self._last_full = self._calls
        self._store(key, crossing.features, sum(map(_nbytes, self._entered.values())))


def _nbytes(tensor: torch.Tensor) -> int:
    return tensor.element_size() * tensor.nelement()


def new_run(plan: Plan, controlnet: HeldControlNet | None = None) -> Run:
    """The run that a schedule asks for."""
    return AdaptiveRun(plan) if plan.schedule.reuse.mode == "adaptive" else Run(plan, controlnet)
