"""What a schedule gains on this device: the same run plain, cached, compiled, and both, side by side."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from deepcadence.probe.clock import interleaved, median_ratio, timed
from deepcadence.probe.errors import WorkloadError
from deepcadence.probe.macs import Macs, count_macs
from deepcadence.probe.probing import Progress
from deepcadence.probe.workload import Workload
from deepcadence.schedules import Cost, Handle, Schedule, cached, check_num_calls, denoiser, family_of

__all__ = ["Timing", "bench"]

Attach = Callable[[], AbstractContextManager[Handle | None]]


@dataclass(frozen=True)
class Timing:
    """One way to make a run, timed.

    Attributes:
        name: "plain", "cached" (with the schedule), "compiled" or "compiled and cached".
        first: seconds of the first run, which warms up and compiles, and is not among `seconds`.
        seconds: of one run, text encoding and decoding included; one number per round.
        speedup: how many times less time than plain: the median over the rounds of the ratio within a round.
        schedule_speedup: the same against this way without the schedule; None where there is no schedule.
        mac_speedup: how many times fewer MACs the denoiser took, by the calls that were made; None likewise.
        bytes_held: the most bytes that stored features took.
        peak_bytes: the most memory in use during a run, weights included; None where the device does not tell.
    """

    name: str
    first: float
    seconds: tuple[float, ...]
    speedup: float
    schedule_speedup: float | None
    mac_speedup: float | None
    bytes_held: int
    peak_bytes: int | None

    @property
    def median(self) -> float:
        """Seconds of the median run."""
        return statistics.median(self.seconds)

    @property
    def time_over_macs(self) -> float | None:
        """The speed-up in time over that in MACs: 1 where time falls as far as MACs do."""
        if self.schedule_speedup is None or self.mac_speedup is None:
            return None
        return self.schedule_speedup / self.mac_speedup


def bench(
    workload: Workload,
    schedule: Schedule,
    *,
    rounds: int = 5,
    compile: bool = False,  # noqa: A002 - as torch calls it
    progress: Progress | None = None,
) -> tuple[Timing, ...]:
    """Time one batch of the workload without the schedule and with it.

    The ways to run take turns: in each round every one runs once, each time another one first. Attaching a schedule is
    not timed. The pipeline is as before afterwards.

    Args:
        workload: its first `batch_size` seeds are run.
        schedule: for as many calls as the workload makes.
        rounds: of which the median counts.
        compile: also time the denoiser under `torch.compile`. That compiles three graphs or more, which takes minutes
            on a slow CPU.
        progress: called as `progress(phase, done, total)`.

    Raises:
        ScheduleError: the schedule is for another number of calls or another model.
        UnsupportedModelError: the model cannot be split; or `compile` with a schedule that is adaptive.
        WorkloadError: there are no seeds, or torch cannot compile here.
    """
    seeds = workload.seeds[: workload.batch_size]
    if not seeds:
        raise WorkloadError("seeds: found none, expected at least one")
    trace, model = workload.trace(), denoiser(workload.pipeline)
    check_num_calls(schedule, trace.num_calls)
    macs = count_macs(model, size=family_of(model).size_of(model, trace.sample_shape), cuts=schedule.cuts)
    schedule = _with_cost(schedule, macs)
    with ExitStack() as attached:
        ways = [
            _Way("plain", workload, seeds, nullcontext),
            _Way("cached", workload, seeds, lambda: cached(workload.pipeline, schedule)),
        ]
        if compile:
            bare, both = _compiled(workload), _compiled(workload)
            handle = attached.enter_context(cached(both.pipeline, schedule))  # an attachment owns its graphs
            ways.append(_Way("compiled", bare, seeds, nullcontext))
            ways.append(_Way("compiled and cached", both, seeds, lambda: nullcontext(handle)))
        first = _first_runs(ways, progress)
        seconds = interleaved(_reporting(ways, rounds, progress), rounds)
    return tuple(_timing(way, first[way.name], seconds, macs) for way in ways)


class _Way:
    """One way to make the run, and what was seen of it."""

    def __init__(self, name: str, workload: Workload, seeds: tuple[int, ...], attach: Attach) -> None:
        self.name, self.workload, self.seeds, self.attach = name, workload, seeds, attach
        self.device = next(denoiser(workload.pipeline).parameters()).device
        self.handle: Handle | None = None
        self.peak_bytes: int | None = None

    def run(self) -> float:
        """Make the run once; seconds."""
        with self.attach() as self.handle:
            if self.device.type != "cuda":
                return timed(self.device, partial(self.workload.run, self.seeds))[0]
            torch.cuda.reset_peak_memory_stats(self.device)
            seconds = timed(self.device, partial(self.workload.run, self.seeds))[0]
            self.peak_bytes = torch.cuda.max_memory_allocated(self.device)
            return seconds


def _with_cost(schedule: Schedule, macs: Macs) -> Schedule:
    """The schedule with these costs, so that a run states the MACs that it took."""
    cost = Cost(counter=macs.counter, full_macs=macs.full, partial_macs=dict(macs.partial))
    return schedule.model_copy(update={"cost": cost})


def _compiled(workload: Workload) -> Workload:
    """The workload with a pipeline of its own, whose denoiser is compiled around the same, untouched model."""
    pipeline = copy.copy(workload.pipeline)
    name = next(name for name in ("unet", "transformer") if isinstance(getattr(pipeline, name, None), nn.Module))
    setattr(pipeline, name, torch.compile(denoiser(pipeline)))
    return workload.replace(pipeline=pipeline)


def _first_runs(ways: list[_Way], progress: Progress | None) -> dict[str, float]:
    """Seconds of each way's first run."""
    found: dict[str, float] = {}
    for way in ways:
        if progress is not None:
            progress("first runs", len(found), len(ways))
        try:
            found[way.name] = way.run()
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = " ".join(str(error).split("\n\n")[0].split())
            raise WorkloadError(f"torch.compile failed here ({reason}); time the run without it") from error
    if progress is not None:
        progress("first runs", len(ways), len(ways))
    return found


def _reporting(ways: list[_Way], rounds: int, progress: Progress | None) -> list[tuple[str, Callable[[], float]]]:
    """The ways by name, as runs that report how many of all were made."""
    made = 0

    def run(way: _Way) -> float:
        nonlocal made
        seconds = way.run()
        made += 1
        if progress is not None:
            progress("timing", made, rounds * len(ways))
        return seconds

    return [(way.name, partial(run, way)) for way in ways]


def _timing(way: _Way, first: float, seconds: dict[str, list[float]], macs: Macs) -> Timing:
    """What was found about one way."""
    mine = seconds[way.name]
    without = {"cached": "plain", "compiled and cached": "compiled"}.get(way.name)
    stats = None if way.handle is None else way.handle.stats
    return Timing(
        name=way.name,
        first=first,
        seconds=tuple(mine),
        speedup=median_ratio(seconds["plain"], mine),
        schedule_speedup=None if without is None else median_ratio(seconds[without], mine),
        mac_speedup=None if stats is None or stats.macs is None else stats.calls * macs.full / stats.macs,
        bytes_held=0 if stats is None else stats.bytes_held,
        peak_bytes=way.peak_bytes,
    )
