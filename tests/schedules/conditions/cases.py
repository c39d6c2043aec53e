"""What a cell of the support table is: a model, or a pipeline, under one condition, and what must hold there."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import torch

from deepcadence.schedules import Schedule, ScheduleWarning, UnsupportedModelError, apply, cached, denoiser, family_of
from tests.schedules.conditions.families import COLUMNS, Column
from tests.schedules.conditions.replay import Replay
from tests.schedules.test_families import inputs_of, same, sample_of

Outcome = Literal["works", "refused"]
Calls = tuple[Literal["full"] | int, ...]


class AbsentError(Exception):
    """diffusers has no such thing for this family."""


@cache
def widths(column: str) -> dict[int, int]:
    """Channels of the feature at each cut."""
    case = ModelCase.of(next(each for each in COLUMNS if each.name == column))
    family = family_of(case.model)
    with torch.no_grad():
        _, features = family.views(case.model, family.cuts(case.model)).full(**case.inputs[0])
    return {cut: feature.shape[1] for cut, feature in features.items()}


@cache
def bare_output(column: str) -> torch.Tensor:
    """What the first call computes without a condition."""
    case = ModelCase.of(next(each for each in COLUMNS if each.name == column))
    with torch.no_grad():
        return sample_of(case.model(**case.inputs[0]))


def partial_calls(model: Any, number: int) -> Calls:
    """A full call, then calls at cut 0, which splits a block of a U-Net, and at the last cut, at an edge, in turn."""
    cuts = [0, max(family_of(model).cuts(model))]
    return "full", *(cuts[index % 2] for index in range(number - 1))


def with_full(calls: Calls, forced: frozenset[int]) -> Calls:
    """The calls as they are made where some were forced to be full."""
    return tuple("full" if index in forced else call for index, call in enumerate(calls))


def nothing() -> None:
    """What happens before most calls, and most runs."""


def _error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(found - expected))


@dataclass
class ModelCase:
    """Three calls of a bare denoiser.

    Attributes:
        inputs: of each call.
        around: what the calls are made in.
        before: what happens before a call.
        forced: the calls that have to be full, whatever the schedule says.
        changes: whether the condition changes what the model computes.
    """

    column: Column
    model: Any
    inputs: list[dict[str, Any]]
    around: Callable[[], AbstractContextManager[Any]] = torch.no_grad
    before: dict[int, Callable[[], object]] = field(default_factory=dict)
    forced: frozenset[int] = frozenset()
    changes: bool = True

    @classmethod
    def of(cls, column: Column) -> ModelCase:
        """The plain model: each call has a sample of its own, and all else in common."""
        model = column.model()
        first, *others = (inputs_of(model, seed, column.size) for seed in range(3))
        sample = next(iter(first))
        return cls(column, model, [first, *({**first, sample: other[sample]} for other in others)])

    def outcome(self) -> Outcome:
        """Check the cell: it is refused, or all that is promised holds."""
        model, schedule = self.model, Schedule(calls=partial_calls(self.model, len(self.inputs)))
        try:
            handle = apply(model, schedule)
        except UnsupportedModelError:
            return "refused"
        with handle:
            found = self._run()
        plain = self._run()
        with cached(model, Schedule(calls=("full",) * len(self.inputs))):
            assert all(map(torch.equal, self._run(), plain))
        calls = with_full(schedule.calls, self.forced)
        with Replay(model, calls, family_of(model).cuts(model), widths(self.column.name)):
            expected = self._run()
        for call, output, replayed, bare in zip(calls, found, expected, plain, strict=True):
            assert same(output, replayed, model)
            assert (call == "full") == torch.equal(output, bare)
            assert call == "full" or _error(output, replayed) < _error(output, bare) / 2
        assert {call for call, _ in handle.stats.forced} == self.forced
        assert handle.stats.partial == len(calls) - calls.count("full")
        if self.changes:
            assert not same(plain[0], bare_output(self.column.name), model)
        return "works"

    def _run(self) -> list[torch.Tensor]:
        outputs = []
        with self.around():
            for index, inputs in enumerate(self.inputs):
                self.before.get(index, nothing)()
                given = {name: list(each) if isinstance(each, list) else each for name, each in inputs.items()}
                outputs.append(sample_of(self.model(**given)).detach().clone())
        return outputs


ENOUGH = 9  # calls: more than any run here makes


@contextmanager
def _shorter_runs() -> Iterator[None]:
    """Runs that make fewer calls than their schedule has are told so."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScheduleWarning)
        yield


@dataclass
class PipelineCase:
    """A run of a pipeline.

    Attributes:
        arguments: of its call.
        first: what happens, with the schedule attached, before the run that counts.
        forced: the calls that have to be full, whatever the schedule says.
        hold_controlnet: whether the ControlNet is left out at partial calls.
    """

    column: Column
    pipe: Any
    arguments: dict[str, Any]
    first: Callable[[], object] = nothing
    forced: frozenset[int] = frozenset()
    steps: int = 3
    hold_controlnet: bool = False

    @classmethod
    def of(cls, column: Column) -> PipelineCase:
        """The plain pipeline.

        Raises:
            AbsentError: there is none.
        """
        if column.pipeline is None:
            raise AbsentError
        return cls(column, column.pipeline(), dict(column.arguments))

    def outcome(self) -> Outcome:
        """Check the cell: it is refused, or all that is promised holds."""
        model = denoiser(self.pipe)
        cuts, known = family_of(model).cuts(model), widths(self.column.name)
        schedule = Schedule(calls=partial_calls(model, ENOUGH))
        try:
            handle = apply(self.pipe, schedule, hold_controlnet=self.hold_controlnet)
        except UnsupportedModelError:
            return "refused"
        with handle, _shorter_runs():
            self.first()
            found = self.run()
        plain = self.run()
        with cached(self.pipe, Schedule(calls=("full",) * ENOUGH)), _shorter_runs():
            assert torch.equal(self.run(), plain)
        calls = with_full(schedule.calls, self.forced)
        with Replay(model, calls, cuts, known) as replay, self._residuals_of_full_calls(calls):
            expected = self.run()
        if family_of(model).exact:
            assert torch.equal(found, expected)
        torch.testing.assert_close(found, expected)
        assert not torch.allclose(found, plain)
        assert {call for call, _ in handle.stats.forced} == self.forced
        assert handle.stats.calls == replay.made > 1
        assert handle.stats.controlnet_left_out == (handle.stats.partial if self.hold_controlnet else 0)
        return "works"

    @contextmanager
    def _residuals_of_full_calls(self, calls: Calls) -> Iterator[None]:
        """All calls of a ControlNet that is held are made, and what partial ones return is put aside."""
        kept: list[Any] = []
        made = iter(calls)

        def last(_net: Any, _args: Any, output: Any) -> Any:
            if next(made) == "full":
                kept[:] = [output]
            return kept[0]

        handle = self.pipe.controlnet.register_forward_hook(last) if self.hold_controlnet else None
        yield
        if handle is not None:
            handle.remove()

    def run(self) -> torch.Tensor:
        """Latents, or what comes out of a pipeline that has none."""
        torch.manual_seed(0)
        kind = "np" if self.column.name in ("U-Net 2D", "DiT") else "latent"
        arguments = {"num_inference_steps": self.steps, "output_type": kind, **self.arguments}
        output = self.pipe(**arguments, generator=torch.Generator().manual_seed(0))
        result = output.frames if hasattr(output, "frames") else output.images
        return result if isinstance(result, torch.Tensor) else torch.from_numpy(result)
