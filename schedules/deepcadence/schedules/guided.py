"""Guidance that takes several calls a step: each side of it is a series of calls of its own.

Most pipelines stack the sides of classifier-free guidance in one batch. Those of Flux and Wan call the denoiser once
with the prompt and once without, on the same sample. A feature of one side is none for the other, and a schedule for
50 steps has 50 calls, whichever way the sides are computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import torch

from deepcadence.schedules.adaptive import new_run
from deepcadence.schedules.controlnet import HeldControlNet
from deepcadence.schedules.dispatch import Installation
from deepcadence.schedules.families.inputs import by_name
from deepcadence.schedules.run import NewRun, Plan, Run, RunStats

Side: TypeAlias = tuple[int, bool]

Conditions: TypeAlias = dict[str, torch.Tensor]

_NO_CONDITION = frozenset({"timestep", "timesteps", "return_dict"})
# Of a ControlNet, at each step anew; those that are held stay for some steps, and tell no side from another.
_FLEETING = ("residual", "controlnet")


class Sides:
    """Tells which side of the guidance a call belongs to, from its arguments and those of the calls before.

    A call with the very tensor that was the sample of the call before, not written to since, but with other tensors of
    the same shapes as its conditions, is another side of the same step. From step to step a side is known by its
    conditions, where they are the same tensors (guidance may be on for some steps only), else by its place. Tensors are
    compared by identity, so the device is not waited for. A call that skips layers (skip-layer guidance) is a side of
    its own.

    Attributes:
        changed: the condition of the last call that took the place of one that was the same tensor at each step before,
            such as another prompt; None if there is none.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self._sample: tuple[Any, int | None] = (None, None)  # with its version
        self._known: dict[bool, list[Conditions]] = {False: [], True: []}  # of each side, when it was met last
        self._met: list[int] = []  # the sides of this step, the last one last
        self._lasting: set[str] = set()  # conditions that are the same tensors from step to step
        self.changed: str | None = None

    def __call__(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Side:
        """The side of this call: (its place among the calls of a step, whether it skips layers)."""
        named = by_name(self._names, args, kwargs)
        sample, skips = named.pop(self._names[0], None), bool(named.get("skip_layers"))
        conditions = dict(
            pair for name, value in named.items() if name not in _NO_CONDITION for pair in _conditions(name, value)
        )
        known = self._known[skips]
        version = _version(sample)
        if sample is None or sample is not self._sample[0] or version != self._sample[1]:
            self._sample, self._met = (sample, version), []
            for each in known:
                same = (name for name in conditions if conditions[name] is each.get(name))
                self._lasting |= {name for name in same if not _is_fleeting(name)}
        index = self._place(conditions, known)
        before = known[index] if index < len(known) else conditions
        replaced = (name for name in conditions if name in self._lasting and conditions[name] is not before.get(name))
        self.changed = next(replaced, None) if _shapes(before) == _shapes(conditions) else None
        known[index : index + 1] = [conditions]
        self._met.append(index)
        return index, skips

    def _place(self, conditions: Conditions, known: list[Conditions]) -> int:
        """The side with these conditions; that of the call before if their shapes are new; else one not met yet."""
        for index in self._met:
            if known[index].keys() == conditions.keys() and _alike(known[index], conditions, conditions.keys()):
                return index
        if self._met and _shapes(conditions) != _shapes(known[self._met[0]]):
            return self._met[-1]
        others = [index for index in range(len(known) + 1) if index not in self._met]
        lasting = self._lasting & conditions.keys()
        return next((each for each in others[:-1] if lasting and _alike(known[each], conditions, lasting)), others[0])


def _conditions(name: str, value: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of an argument by name; in containers, as `added_cond_kwargs.text_embeds` or `image_embeds[0]`.

    Not what a ControlNet returns in containers: all of it would be held until the next call.
    """
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _conditions(f"{name}.{key}", each)
    elif isinstance(value, list | tuple) and not _is_fleeting(name):
        for number, each in enumerate(value):
            yield from _conditions(f"{name}[{number}]", each)


def _is_fleeting(name: str) -> bool:
    return any(part in name for part in _FLEETING)


def _version(sample: Any) -> int | None:
    """Changes once the tensor is written to; those of inference mode do not tell."""
    return sample._version if isinstance(sample, torch.Tensor) and not sample.is_inference() else None


def _alike(known: Conditions, conditions: Conditions, names: Iterable[str]) -> bool:
    return all(known.get(name) is conditions[name] for name in names)


def _shapes(conditions: Conditions) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in conditions.items()}


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
        if self._sides.changed is not None:
            self._runs[side].forget(f"{self._sides.changed} was replaced")
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
