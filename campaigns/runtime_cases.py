"""One case of the runtime's campaign: a random pipeline, schedule and incident, run beside the oracle."""

from __future__ import annotations

import functools
import inspect
import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import nn

from campaigns.runtime_following import Following
from campaigns.runtime_pool import KINDS, Arguments
from deepcadence.schedules import (
    DeepcadenceError,
    Handle,
    ReuseInfo,
    RunStats,
    Schedule,
    ScheduleError,
    apply,
    cached,
    denoiser,
    family_of,
)

INCIDENTS = ("none", "raise", "interrupt", "detach", "attach another", "run another", "unguide", "short")
"""What happens within a run, after a random step of it."""

Trace = list[torch.Tensor]


class ThrownError(Exception):
    """Thrown from a callback on purpose."""


class FoundError(Exception):
    """The runtime did something else than the oracle."""


class Models:
    """Prototypes of the pipelines by kind: those that all threads share, or a thread's own, for the oracle."""

    def __init__(self, kinds: Iterable[str]) -> None:
        self.prototypes: dict[str, Any] = {name: KINDS[name].make() for name in kinds}


@dataclass
class Planned:
    """What one run is called with, and what happens in it."""

    steps: int
    seed: int
    arguments: Arguments
    incident: str = "none"
    at: int = 0
    by_callback: bool = False


def check(name: str, shared: Models, own: Models, seed: str) -> int:
    """Run one case of a kind; returns the number of runs compared.

    Raises:
        FoundError: what differs.
    """
    rng = Random(seed)
    case = _Bare if rng.random() < 0.15 else _Piped
    return case(name, shared, own, rng).check()


def run_plainly(name: str, models: Models) -> None:
    """One run without a schedule: what diffusers itself leaves on a model when it first runs is there after it."""
    case = _Piped(name, models, models, Random(name))
    case._plain(case.planned)


def random_schedule(rng: Random, calls: int, cuts: list[int]) -> Schedule:
    """A schedule of up to three cuts, mixed call by call, with any reuse."""
    chosen, rate = rng.sample(cuts, min(len(cuts), rng.randint(1, 3))), rng.choice((0.0, 0.2, 0.4, 1.0))
    entries = ["full", *("full" if rng.random() < rate else rng.choice(chosen) for _ in range(calls - 1))]
    mode = rng.choice(("hold", "extrapolate", "adaptive"))
    reuse: dict[str, Any] = {"mode": mode}
    if mode == "extrapolate":
        reuse |= {"order": rng.choice((1, 2)), "alpha": rng.choice((0, 0.5, 1, 1.7))}
    elif mode == "adaptive":
        reuse |= {"threshold": rng.choice((0.0, 0.1, 0.3, 0.6, 1e9)), "max_hold": rng.choice((None, 1, 2))}
    return Schedule(calls=tuple(entries), reuse=ReuseInfo(**reuse))


def expect(same: bool, what: str) -> None:
    """Raise a finding where something is not as it should be."""
    if not same:
        raise FoundError(what)


def same_traces(found: Trace, expected: Trace, what: str) -> None:
    """Two runs gave the same tensors, to the bit."""
    expect(len(found) == len(expected), f"{what}: {len(found)} tensors, expected {len(expected)}")
    for index, (one, other) in enumerate(zip(found, expected, strict=True)):
        same = (one.shape, one.dtype) == (other.shape, other.dtype) and torch.equal(_bits(one), _bits(other))
        expect(same, f"{what}: tensor {index} of {len(found)} differs")


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    """What is stored: NaN is equal to itself, and 0 is not -0."""
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def same_stats(found: RunStats, expected: RunStats, what: str) -> None:
    """A run reports what the oracle did; for forced calls their numbers are compared."""
    plain = {**vars(found), "forced": tuple((call, "") for call, _ in found.forced)}
    for name, value in vars(expected).items():
        expect(plain[name] == value, f"{what}: stats.{name} is {plain[name]}, expected {value}")


class _Piped:
    """Runs of a pipeline."""

    def __init__(self, name: str, shared: Models, own: Models, rng: Random) -> None:
        self.kind, self.rng, self.name = KINDS[name], rng, name
        self.prototype, self.twin = shared.prototypes[name], own.prototypes[name]
        self.sampler = rng.choice(self.kind.samplers) if self.kind.samplers else None
        least = 4 if self.sampler == "PNDMScheduler" else 2  # it fails below, without a schedule too
        self.planned = Planned(rng.randint(least, 6), rng.randint(0, 99), self.kind.arguments(rng))

    def check(self) -> int:
        rng, planned = self.rng, self.planned
        pipe = self._pipeline(self.prototype)
        cuts = list(family_of(denoiser(pipe)).cuts(denoiser(pipe)))
        plain, calls = self._plain(planned)
        schedule = random_schedule(rng, calls, cuts)
        other_schedule = random_schedule(rng, calls, cuts)
        eventful = self._eventful(planned, pipe, calls)
        chosen = Schedule(calls=schedule.calls[:-1], reuse=schedule.reuse) if eventful.incident == "short" else schedule
        expected = [self._oracle(chosen, eventful)]
        expected += [self._oracle(chosen, planned)] if eventful.incident != "detach" else []
        before, kind = dict(vars(pipe)), type(pipe)
        other = _Other(self._pipeline(self.prototype), other_schedule, planned, self._oracle(other_schedule, planned))
        handle = self._attached_runs(pipe, chosen, [eventful, planned][: len(expected)], expected, other)
        expect(not handle._under_way, "a run is still under way")
        expect(type(pipe) is kind, "the class of the pipeline is not restored")
        expect(vars(pipe).keys() >= before.keys(), "attributes of the pipeline are missing")
        trace, error = _run(pipe, planned)
        expect(error is None, f"after removal: {error!r}")
        same_traces(trace, plain, "after removal")
        return len(expected) + 1 + other.runs

    def _attached_runs(
        self, pipe: Any, schedule: Schedule, runs: list[Planned], expected: list[Any], other: _Other
    ) -> Handle:
        with ExitStack() as stack:
            handle = _attach(self.rng, stack, pipe, schedule)
            for planned, (trace, failed, stats) in zip(runs, expected, strict=True):
                what = f"{self.name}, {self.sampler}, {schedule.reuse.mode}, {planned.incident} at {planned.at}"
                found, error = _run(pipe, planned, handle.remove, other)
                expect(type(error) is failed, f"{what}: {error!r}, expected {failed}")
                same_traces(found, trace, what)
                same_stats(handle.stats, stats, what)
        return handle

    def _pipeline(self, prototype: Any) -> Any:
        return self.kind.pipeline(prototype, self.sampler)

    def _plain(self, planned: Planned) -> tuple[Trace, int]:
        """A run without a schedule, and the calls of one side in it."""
        pipe, count = self._pipeline(self.twin), 0

        def counted(*_: Any) -> None:
            nonlocal count
            count += 1

        hook = denoiser(pipe).register_forward_hook(counted)
        trace, error = _run(pipe, planned)
        hook.remove()
        expect(error is None, f"{self.name}, {self.sampler}: a plain run fails: {error!r}")
        return trace, count // self.kind.sides

    def _eventful(self, planned: Planned, pipe: Any, calls: int) -> Planned:
        """The same run with an incident that this pipeline knows."""
        rng = self.rng
        callback = "callback_on_step_end" in inspect.signature(type(pipe).__call__).parameters
        incident = rng.choice(INCIDENTS)
        guided = self.name == "SD" and "guidance_scale" not in planned.arguments
        if (incident == "interrupt" and not hasattr(type(pipe), "interrupt")) or (incident == "unguide" and not guided):
            incident = "raise"
        if incident == "short" and calls == 1:
            incident = "none"
        by_callback = incident == "unguide" or (callback and rng.random() < 0.7)
        at = rng.randrange(planned.steps)
        return Planned(planned.steps, planned.seed, planned.arguments, incident, at, by_callback)

    def _oracle(self, schedule: Schedule, planned: Planned) -> tuple[Trace, type, RunStats]:
        pipe = self._pipeline(self.twin)
        model = denoiser(pipe)
        following = Following(model, schedule, self.kind.sides)
        model.forward = following
        try:
            trace, error = _run(pipe, planned, following.leave)
        finally:
            del model.forward
        return trace, type(error), following.stats()


@dataclass
class _Other:
    """A second pipeline around the same denoiser, used from within a run of the first."""

    pipe: Any
    schedule: Schedule
    planned: Planned
    expected: tuple[Trace, type, RunStats]
    runs: int = 0

    def attach(self) -> None:
        """Attach and detach."""
        apply(self.pipe, self.schedule).remove()

    def run(self) -> None:
        """Attach, run, compare, detach."""
        with cached(self.pipe, self.schedule) as handle:
            found, error = _run(self.pipe, self.planned)
        expect(error is None, f"a run within a run: {error!r}")
        same_traces(found, self.expected[0], "a run within a run")
        same_stats(handle.stats, self.expected[2], "a run within a run")
        self.runs += 1


def _attach(rng: Random, stack: ExitStack, target: Any, schedule: Schedule) -> Handle:
    """Attach in one of the ways that there are, sometimes after an attempt that is refused."""
    way = rng.randrange(4)
    if rng.random() < 0.1:
        try:
            apply(target, Schedule(calls=("full", 99)))
        except ScheduleError:
            pass
        else:
            raise FoundError("a cut that the model lacks was accepted")
    if way == 0:
        return stack.enter_context(cached(target, schedule))
    if way == 1:
        return stack.enter_context(apply(target, schedule))
    if way == 2:
        with tempfile.TemporaryDirectory() as folder:
            schedule.save(Path(folder) / "schedule.json")
            return stack.enter_context(cached(target, Path(folder) / "schedule.json"))
    handle = apply(target, schedule)
    stack.callback(handle.remove)
    return handle


def _run(
    pipe: Any, planned: Planned, leave: Callable[[], None] | None = None, other: _Other | None = None
) -> tuple[Trace, BaseException | None]:
    """One run: what the denoiser gave at each step and the images, and what was raised on purpose or by a schedule."""
    trace: Trace = []
    arguments = dict(planned.arguments)
    step, incident = pipe.scheduler.step, functools.partial(_happen, pipe, planned, leave, other)

    @functools.wraps(step)
    def watched(output: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        trace.append(output.clone())
        result = step(output, *args, **kwargs)
        if not planned.by_callback and len(trace) - 1 == planned.at:
            incident({})
        return result

    def callback(_pipe: Any, number: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        return incident(tensors) if number == planned.at else {}

    if planned.by_callback:
        arguments |= {"callback_on_step_end": callback, "callback_on_step_end_tensor_inputs": ["latents"]}
        if planned.incident == "unguide":
            arguments["callback_on_step_end_tensor_inputs"] = ["prompt_embeds"]
    pipe.scheduler.step = watched
    pipe._interrupt = False
    kind = "latent" if "height" in arguments or planned.by_callback else "np"
    generator = torch.Generator().manual_seed(planned.seed)
    try:
        result = pipe(**arguments, generator=generator, num_inference_steps=planned.steps, output_type=kind)
    except (ThrownError, ScheduleError) as error:
        return trace, error
    finally:
        del pipe.scheduler.step
    images = result.frames if hasattr(result, "frames") else result.images
    return [*trace, torch.as_tensor(images)], None


def _happen(
    pipe: Any, planned: Planned, leave: Callable[[], None] | None, other: _Other | None, tensors: dict[str, Any]
) -> dict[str, Any]:
    if planned.incident == "raise":
        raise ThrownError
    if planned.incident == "interrupt":
        pipe._interrupt = True
    elif planned.incident == "detach" and leave is not None:
        leave()
    elif planned.incident == "attach another" and other is not None:
        other.attach()
    elif planned.incident == "run another" and other is not None:
        other.run()
    elif planned.incident == "unguide":
        pipe._guidance_scale = 1.0
        return {"prompt_embeds": tensors["prompt_embeds"].chunk(2)[-1]}
    return {}


class _Bare:
    """One run of a denoiser by itself, call by call."""

    def __init__(self, name: str, shared: Models, own: Models, rng: Random) -> None:
        self.rng, self.name = rng, name
        self.model: nn.Module = denoiser(shared.prototypes[name])
        self.twin: nn.Module = denoiser(own.prototypes[name])

    def check(self) -> int:
        rng, family = self.rng, family_of(self.twin)
        calls, generator = rng.randint(1, 8), torch.Generator().manual_seed(rng.randint(0, 99))
        schedule = random_schedule(rng, calls, list(family.cuts(self.twin)))
        size = family.small_size(self.twin)
        batches = [rng.randint(1, 2)] * calls if rng.random() < 0.5 else [rng.randint(1, 2) for _ in range(calls)]
        inputs = [family.example_inputs(self.twin, batch=each, size=size, generator=generator) for each in batches]
        following = Following(self.twin, schedule, 1)
        made = rng.randint(0, calls)
        with torch.no_grad(), ExitStack() as stack:
            handle = _attach(rng, stack, self.model, schedule)
            for call in range(made):
                what = f"{self.name}, bare, {schedule.reuse.mode}, call {call}"
                same_traces([self.model(**inputs[call])[0]], [following(**inputs[call])[0]], what)
            same_stats(handle.stats, following.stats(), f"{self.name}, bare")
            self._refused(schedule, handle, inputs[0], complete=made == calls)
        with torch.no_grad():
            same_traces([self.model(**inputs[0])[0]], [self.twin(**inputs[0])[0]], f"{self.name}, bare, after removal")
        return 1

    def _refused(self, schedule: Schedule, handle: Handle, inputs: dict[str, Any], *, complete: bool) -> None:
        """A second run in this thread is refused, and so is a call too many."""
        for attempt, wanted in (
            (lambda: apply(self.model, schedule), True),
            (lambda: self.model(**inputs), complete),
        ):
            if not wanted:
                continue
            try:
                attempt()
            except DeepcadenceError:
                continue
            raise FoundError(f"{self.name}, bare: what should be refused was not; {handle.stats}")
