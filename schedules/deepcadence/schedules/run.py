"""One run of a pipeline under a schedule: counting calls, holding features, deciding."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import FunctionType
from typing import Any, Literal

import torch
from torch import nn

from deepcadence.schedules.checks import steps_to_run
from deepcadence.schedules.controlnet import HeldControlNet
from deepcadence.schedules.errors import ScheduleError
from deepcadence.schedules.families import Family, Views
from deepcadence.schedules.fingerprint import Adapters, difference, fingerprint
from deepcadence.schedules.reuse import Features, cuts_needed, order_of
from deepcadence.schedules.schedule import Schedule

Compile = Callable[[Callable[..., Any]], Callable[..., Any]]


@dataclass(frozen=True)
class RunStats:
    """What a run did.

    Attributes:
        calls: calls of the denoiser so far. Where the sides of guidance are calls of their own, they are counted each.
        full: full calls, forced ones included.
        partial: partial calls.
        forced: call number and reason of each call that the schedule wanted partial and that had to run full.
        went_on: number of each call that the schedule let decide, and that went on to a full call.
        bytes_held: the most bytes that stored features took at any time, and held residuals of a ControlNet.
        macs: multiply-accumulates per sample of all calls; None where the schedule does not state its
            cost, or states it for another sample shape. A ControlNet is not counted.
        controlnet_left_out: calls of the ControlNet that were answered by what it returned before.
    """

    calls: int = 0
    full: int = 0
    partial: int = 0
    forced: tuple[tuple[int, str], ...] = ()
    bytes_held: int = 0
    macs: int | None = None
    went_on: tuple[int, ...] = ()
    controlnet_left_out: int = 0


@dataclass(frozen=True)
class Plan:
    """What all runs of one attachment have in common.

    Attributes:
        compile: as the denoiser was compiled; None if it was not.
        compiled: what was compiled so far.
    """

    model: nn.Module
    family: Family
    schedule: Schedule
    source: str
    names: tuple[str, ...]
    compile: Compile | None = None
    compiled: dict[Hashable, Callable[..., Any]] = field(default_factory=dict)

    @cached_property
    def needed(self) -> tuple[frozenset[int], ...]:
        """Per call, were it full: the cuts whose feature is worth keeping."""
        return cuts_needed(self.schedule.calls, order_of(self.schedule.reuse))

    def function(self, views: Views, name: str, cut: int | None = None) -> Callable[..., Any]:
        """The method `name` of `views`, compiled if the denoiser is.

        Each cut, and each choice of cuts, gets a code object of its own: what was compiled is kept by code object, a
        few versions of each.
        """
        if self.compile is None:
            return getattr(views, name)  # type: ignore[no-any-return]
        method = getattr(type(views), name)
        key = (method, self.schedule.cuts if cut is None else cut)
        if key not in self.compiled:
            own = FunctionType(method.__code__.replace(), method.__globals__, name, None, method.__closure__)
            self.compiled[key] = self.compile(own)
        return functools.partial(self.compiled[key], views)


class Run:
    """State of one run; it dies with the run.

    Args:
        plan: what all runs of the attachment have in common.
        controlnet: whose residuals full calls ask for, if they are held.
    """

    def __init__(self, plan: Plan, controlnet: HeldControlNet | None = None) -> None:
        self._plan, self._controlnet = plan, controlnet
        self.closed = False
        self._state = self._build()
        self._adapters = Adapters(plan.model)
        self._features = Features(plan.schedule.reuse, plan.needed, copies=plan.compile is not None)
        self._key: dict[str, Any] = {}
        self._calls = self._fulls = self._bytes = 0
        self._macs: int | None = 0
        self._forced: list[tuple[int, str]] = []
        self._forget: str | None = None

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Answer one call of the denoiser.

        Raises:
            ScheduleError: the schedule has fewer calls than the run makes.
        """
        wanted = self._wanted()
        key = self._describe(args, kwargs)
        stale = self._stale(key)
        if stale is not None:
            self._features.clear()
        did: Literal["full"] | int = "full"
        if wanted == "full" or wanted not in self._features:
            if self._controlnet is not None:
                args, kwargs = self._controlnet.renewed(args, kwargs)
            output = self._run_full(key, args, kwargs)
            if wanted != "full":
                self._forced.append((self._calls, stale or "no feature is stored"))
        else:
            did, output = self._run_partial(wanted, key, args, kwargs)
        self._count(did, key)
        return output

    def forget(self, reason: str) -> None:
        """What is stored is of no use for the next call, nor after it."""
        self._forget = reason

    def stats(self) -> RunStats:
        """What the run did so far."""
        return RunStats(
            calls=self._calls,
            full=self._fulls,
            partial=self._calls - self._fulls,
            forced=tuple(self._forced),
            bytes_held=self._bytes,
            macs=self._macs,
        )

    def close(self) -> None:
        """Free what is held; calls are no longer answered."""
        self.closed = True
        self._features.clear()

    def _build(self) -> Hashable:
        """Make the views anew; returns the state of the model that they are for."""
        plan = self._plan
        views = plan.family.views(plan.model, plan.schedule.cuts)
        self._full = plan.function(views, "full")
        self._partial = {cut: plan.function(views, "partial", cut) for cut in plan.schedule.cuts}
        return plan.family.state(plan.model)

    def _wanted(self) -> Literal["full"] | int:
        calls = self._plan.schedule.calls
        if self._calls >= len(calls):
            raise ScheduleError(
                f"{self._plan.source}: calls: found a schedule of {len(calls)} calls, but the run makes more; "
                f"use {steps_to_run(self._plan.schedule)}, or schedule.resample(num_calls)"
            )
        return calls[self._calls]

    def _describe(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """What features depend on: the shape of each argument, the values of some, the adapters."""
        key = fingerprint(self._plan.names, args, kwargs)
        adapters = self._adapters.state()
        if adapters is not None:
            key["adapters"] = adapters
        return key

    def _stale(self, key: dict[str, Any]) -> str | None:
        """Why what is stored is of no use for a call like this; None if it is."""
        forget, self._forget = self._forget, None
        if self._plan.family.state(self._plan.model) != self._state:
            self._state = self._build()
            return "the model was changed"
        changed = difference(self._key, key)
        if changed is not None and changed.startswith("adapters"):
            return "an adapter changed"
        return changed or forget

    def _run_full(self, key: dict[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._features.make_room()
        output, features = self._full(*args, **kwargs)
        self._store(key, features)
        return output

    def _run_partial(
        self, cut: int, key: dict[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Literal["full"] | int, Any]:
        """Make a call that the schedule wants partial; returns what it was, and its output."""
        return cut, self._partial[cut](cut, self._features.stand_in(cut, self._calls), *args, **kwargs)

    def _store(self, key: dict[str, Any], features: Mapping[int, torch.Tensor], more_bytes: int = 0) -> None:
        """Keep the features of a full call; `more_bytes` are held beside them."""
        self._features.store(self._calls, features)
        self._bytes = max(self._bytes, self._features.nbytes + more_bytes)
        self._key = key
        if "adapters" in key:
            key["adapters"] = self._adapters.state()  # after the call, which may have left a scale slightly off

    def _count(self, did: Literal["full"] | int, key: dict[str, Any]) -> None:
        self._calls += 1
        self._fulls += did == "full"
        cost = self._plan.schedule.cost
        shape = key.get(self._plan.names[0], (None,))[0]
        known = cost is not None and (cost.sample_shape is None or cost.sample_shape == tuple(shape or ())[1:])
        if cost is None or not known or self._macs is None:
            self._macs = None
        else:
            self._macs += cost.full_macs if did == "full" else cost.partial_macs[did]


NewRun = Callable[[Plan, HeldControlNet | None], Run]
"""Makes the run that answers the calls of one side of the guidance."""
