"""Guidance that takes several calls a step: each side of it is a series of calls of its own.

Most pipelines stack the sides of classifier-free guidance in one batch. Those of Flux and Wan call the denoiser once
with the prompt and once without, on the same sample. A feature of one side is none for the other, and a schedule for
50 steps has 50 calls, whichever way the sides are computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import torch

from deepcadence.schedules.adaptive import new_run
from deepcadence.schedules.controlnet import HeldControlNet
from deepcadence.schedules.dispatch import Installation
from deepcadence.schedules.run import NewRun, Plan, Run, RunStats

Side: TypeAlias = tuple[int, bool]

_NO_CONDITION = frozenset({"timestep", "return_dict"})


class Sides:
    """Tells which side of the guidance a call belongs to, from its arguments and those of the calls before.

    A call with the very tensor that was the sample of the call before, but with other tensors of the same shapes as its
    conditions, is another side of the same step. Tensors are compared by identity, so the device is not waited for. A
    call that skips layers (skip-layer guidance) is a side of its own.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self._sample: Any = None
        self._known: list[dict[str, torch.Tensor]] = []
        self._index = 0

    def __call__(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Side:
        """The side of this call: (its place among the calls of a step, whether it skips layers)."""
        named = {**dict(zip(self._names, args, strict=False)), **kwargs}
        sample = named.pop(self._names[0], None)
        conditions = {
            name: value
            for name, value in named.items()
            if isinstance(value, torch.Tensor) and name not in _NO_CONDITION
        }
        if sample is None or sample is not self._sample:
            self._sample, self._known, self._index = sample, [conditions], 0
        else:
            self._index = self._place(conditions)
        return self._index, bool(named.get("skip_layers"))

    def _place(self, conditions: dict[str, torch.Tensor]) -> int:
        """The side with these conditions; that of the call before if their shapes are new."""
        for index, known in enumerate(self._known):
            if known.keys() == conditions.keys() and all(known[name] is conditions[name] for name in known):
                return index
        if {name: value.shape for name, value in conditions.items()} != {
            name: value.shape for name, value in self._known[0].items()
        }:
            return self._index
        self._known.append(conditions)
        return len(self._known) - 1


class GuidedRun:
    """One run of a pipeline: a `Run` for each side of its guidance.

    Attributes:
        controlnet: what answers the calls of the ControlNet, if its residuals are held.
        closed: whether calls are no longer answered.
    """

    def __init__(self, plan: Plan, controlnet: Installation | None = None, *, new_run: NewRun = new_run) -> None:
        self._plan, self._new_run = plan, new_run
        self._sides = Sides(plan.names)
        self.controlnet = None if controlnet is None else HeldControlNet(controlnet, self)
        self._runs: dict[Side, Run] = {(0, False): new_run(plan, self.controlnet)}
        self.closed = False

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Answer one call of the denoiser; see `Run`."""
        if self.controlnet is not None:
            self.controlnet.meet(args, kwargs)
        side = self._sides(args, kwargs)
        if side not in self._runs:
            self._runs[side] = self._new_run(self._plan, self.controlnet)
        return self._runs[side](args, kwargs)

    @property
    def length(self) -> int:
        """Calls so far of the side that had most."""
        return max(run.stats().calls for run in self._runs.values())

    def next_is_partial(self) -> bool:
        """Whether the schedule wants the next step partial."""
        return self._plan.schedule.calls[self.length : self.length + 1] not in ((), ("full",))

    def stats(self) -> RunStats:
        """What the run did so far, all sides together."""
        stats = [run.stats() for run in self._runs.values()]
        macs = [each.macs for each in stats]
        return RunStats(
            calls=sum(each.calls for each in stats),
            full=sum(each.full for each in stats),
            partial=sum(each.partial for each in stats),
            forced=tuple(sorted(forced for each in stats for forced in each.forced)),
            bytes_held=sum(each.bytes_held for each in stats) + (self.controlnet.nbytes if self.controlnet else 0),
            macs=None if None in macs else sum(number for number in macs if number is not None),
            went_on=tuple(sorted(call for each in stats for call in each.went_on)),
            controlnet_left_out=self.controlnet.left_out if self.controlnet else 0,
        )

    def close(self) -> None:
        """Free what is held; calls are no longer answered."""
        self.closed = True
        self._sides = Sides(self._plan.names)
        if self.controlnet is not None:
            self.controlnet.clear()
        for run in self._runs.values():
            run.close()
