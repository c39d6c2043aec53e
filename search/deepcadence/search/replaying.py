"""Runs of a study that begin alike share what they compute.

The sampler's loop runs as always. A call of the denoiser whose output is known is answered without the denoiser: a full
call with the same arguments, a partial one with the same arguments around the same features in the same proportions.
Where two runs part, the later one needs the features of the last full calls, one to three of them: it makes those calls
now, from the arguments that they had.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor

from deepcadence.schedules import Handle, ReuseInfo, Schedule, denoiser
from deepcadence.schedules.controlnet import HeldControlNet
from deepcadence.schedules.dispatch import active, install, uninstall
from deepcadence.schedules.reuse import Features
from deepcadence.schedules.run import Plan, Run
from deepcadence.schedules.runtime import called_module
from deepcadence.search.errors import SearchError
from deepcadence.search.outputs import Outputs, mapped

_NOT_YET = torch.empty(0)


def may_replay(pipeline: Any, schedule: Schedule | None) -> bool:
    """Whether calls of such a run may be answered from earlier ones.

    Not where the input decides (reuse "adaptive"), nor where the denoiser is compiled: compiled for other cuts, the
    same call may round differently.
    """
    adaptive = schedule is not None and schedule.reuse.mode == "adaptive"
    return not adaptive and called_module(pipeline) is denoiser(pipeline)


@contextmanager
def replaying(pipeline: Any, schedule: Schedule | None, outputs: Outputs) -> Iterator[Handle | None]:
    """With the schedule attached, if there is one: what is known is taken from `outputs`, what is new is kept there."""
    if schedule is not None:
        with Handle(pipeline, schedule, new_run=functools.partial(ReplayingRun, outputs)) as handle:
            yield handle
        return
    model = denoiser(pipeline)
    installation = install(model)

    def answer(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        compute = functools.partial(installation.original, *args, **kwargs)
        return outputs.answer("full", outputs.name_of(args, kwargs), compute)

    try:
        with active(model, answer):
            yield None
    finally:
        uninstall(installation)


class LateFeatures(Features):
    """Features some of which are computed when a call first asks for them."""

    def __init__(self, reuse: ReuseInfo, needed: Sequence[frozenset[int]]) -> None:
        super().__init__(reuse, needed)
        self._late: dict[int, Callable[[], Mapping[int, Tensor]]] = {}

    def postpone(self, call: int, compute: Callable[[], Mapping[int, Tensor]]) -> None:
        """What was stored last, for `call`, holds the place of features that `compute` gives."""
        held = {at for at, _ in self._stored}
        self._late = {at: late for at, late in self._late.items() if at in held} | {call: compute}

    def clear(self) -> None:
        """See `Features.clear`."""
        super().clear()
        self._late = {}

    def stand_in(self, cut: int, call: int) -> Tensor:
        """See `Features.stand_in`.

        Raises:
            SearchError: a full call gave no feature at that cut.
        """
        for at, _ in self.proportions(cut, call):
            if at in self._late:
                features = self._late.pop(at)()
                if cut not in features:
                    raise SearchError(f"the run cannot follow the schedule: call {at} gave no feature at cut {cut}")
                next(held for known, held in self._stored if known == at).update(features)
        return super().stand_in(cut, call)


class ReplayingRun(Run):
    """A run that takes outputs from others, and leaves its own to others."""

    def __init__(self, outputs: Outputs, plan: Plan, controlnet: HeldControlNet | None = None) -> None:
        super().__init__(plan, controlnet)
        self._outputs = outputs
        self._features = self._late = LateFeatures(plan.schedule.reuse, plan.needed)
        self._names: dict[int, str | None] = {}  # of full calls, by number

    def _run_full(self, key: dict[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name = self._names[self._calls] = self._outputs.name_of(args, kwargs)
        output = self._outputs.find("full", name)
        if output is None:
            return self._outputs.compute(name, functools.partial(super()._run_full, key, args, kwargs))
        self._store(key, dict.fromkeys(self._plan.schedule.cuts, _NOT_YET))
        args, kwargs = mapped(args, torch.clone), mapped(kwargs, torch.clone)  # the sampler may overwrite its own
        self._late.postpone(self._calls, functools.partial(self._make, self._calls, args, kwargs))
        return output

    def _run_partial(
        self, cut: int, key: dict[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Literal["full"] | int, Any]:
        run = functools.partial(super()._run_partial, cut, key, args, kwargs)
        return cut, self._outputs.answer(cut, self._name(cut, args, kwargs), lambda: run()[1])

    def _name(self, cut: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Hashable | None:
        """Of a partial call: its arguments, and which features it runs around."""
        name = self._outputs.name_of(args, kwargs)
        around = [(self._names[at], weight) for at, weight in self._features.proportions(cut, self._calls)]
        return None if name is None or any(full is None for full, _ in around) else (name, cut, *around)

    def _make(self, call: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[int, Tensor]:
        """The features of a full call that was answered before: it is made after all."""
        self._outputs.replayed["full"] -= 1
        made: dict[int, Tensor] = self._full(*args, **kwargs)[1]
        return {cut: feature for cut, feature in made.items() if cut in self._plan.needed[call]}
