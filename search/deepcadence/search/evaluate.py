"""Measuring a schedule, or fewer steps, against the uncached run on the same seeds."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from deepcadence.probe import Macs, Trace, Workload, WorkloadError, count_macs, spaced
from deepcadence.schedules import Handle, Schedule, cached, denoiser, family_of
from deepcadence.search.candidates import Candidate
from deepcadence.search.errors import SearchError
from deepcadence.search.outputs import Outputs
from deepcadence.search.quality import QualityFunction, check_images, own_quality, psnr, ssim
from deepcadence.search.replaying import may_replay, replaying

Progress = Callable[[str, int, int], None]
"""`progress(phase, done, total)`."""


@dataclass(frozen=True)
class Measurement:
    """What one way of running the model gives, on the seeds of a workload (the first n of them, if it was stopped).

    Attributes:
        psnr: (n,) dB against the uncached run, capped at 100; see `quality.psnr`.
        ssim: (n,) against the uncached run.
        own: (n,), of the evaluator's own quality function, if it has one.
        mean_macs: MACs of a run divided by the calls of the *reference* run, per sample: comparable between
            schedules and runs with fewer steps. Measured where the input decides, a mean over the samples.
        speedup: MACs of a full call divided by `mean_macs`.
        wall_seconds: of all runs together, image decoding included; less than they take where calls were replayed.
        seconds_per_sample: median over the batches, so that a slow first batch does not count; likewise.
        went_on: calls that the input made full, where it decides: a mean over the samples.
        calls_replayed: calls whose output an earlier run had computed, if those are shared: a mean over the samples.
        macs_replayed: what these calls would have taken, of `mean_macs`, which is the same whether they were replayed.
        images: (n, channels, height, width) float32 in [0, 1], if they were asked for.
    """

    psnr: Tensor
    ssim: Tensor
    mean_macs: float
    speedup: float
    wall_seconds: float
    seconds_per_sample: float
    went_on: float = 0.0
    calls_replayed: float = 0.0
    macs_replayed: float = 0.0
    images: Tensor | None = None
    own: Tensor | None = None

    def values(self, metric: str) -> Tensor:
        """(n,) of "psnr" or "ssim", else of the own quality function.

        Raises:
            SearchError: there is no such function.
        """
        found = {"psnr": self.psnr, "ssim": self.ssim}.get(metric, self.own)
        if found is None:
            raise SearchError(f"{metric!r} was not measured: the evaluator was given no such function")
        return found


class NoFiguresError(SearchError):
    """A run gave no figures: its images, or what a quality function of one's own says of them, are not finite."""


Enough = Callable[[Measurement], bool]
"""Whether what was measured on the first seeds is enough."""


@dataclass(frozen=True)
class Reference:
    """The uncached run: images (n, channels, height, width) float32 in [0, 1], and how long it took."""

    images: Tensor
    wall_seconds: float
    seconds_per_sample: float


@dataclass(frozen=True)
class _Made:
    """Images and seconds of each batch; calls that went on, and that were replayed, of all samples and sides."""

    batches: list[Tensor] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    went_on: list[int] = field(default_factory=list)
    replayed: Counter[Literal["full"] | int] = field(default_factory=Counter)

    @property
    def images(self) -> Tensor:
        return torch.cat(self.batches)

    @property
    def seconds_per_sample(self) -> float:
        return statistics.median(s / len(batch) for s, batch in zip(self.seconds, self.batches, strict=True))


class Evaluator:
    """Measures ways of running one workload against its uncached run, which is computed once, when first needed.

    Args:
        workload: pipeline, steps, seeds, prompts.
        macs: cost of a call; counted exactly if not given.
        quality: a function of one's own that is measured too.
        keep_images: hold on to the images of each measurement.
        share: runs that begin with the same calls compute them once, see `replaying`. Images are the same to the bit,
            seconds are not those of the schedule. Takes up to 512 MiB of main memory.
        progress: told of each batch that is done.
    """

    def __init__(
        self,
        workload: Workload,
        *,
        macs: Macs | None = None,
        quality: QualityFunction | None = None,
        keep_images: bool = False,
        share: bool = False,
        progress: Progress | None = None,
    ) -> None:
        if not workload.seeds:
            raise SearchError("the workload has no seeds; expected at least one")
        self.workload = workload
        self._macs = macs
        self._quality = quality
        self._keep_images = keep_images
        self._outputs = Outputs() if share else None
        self._progress = progress
        self._traces: dict[tuple[int, str | None], Trace] = {}

    @cached_property
    def macs(self) -> Macs:
        """MACs of a full call and of a partial call at each cut, per sample."""
        if self._macs is not None:
            return self._macs
        model = denoiser(self.workload.pipeline)
        return count_macs(model, size=family_of(model).size_of(model, self.trace.sample_shape))

    @property
    def trace(self) -> Trace:
        """How a run of the reference calls its denoiser."""
        return self.trace_of(self.workload.steps)

    @property
    def num_calls(self) -> int:
        """Calls of the denoiser in a run of the reference."""
        return self.trace.num_calls

    def trace_of(self, steps: int, spacing: str | None = None) -> Trace:
        """How a run of `steps` steps calls its denoiser, its timesteps spread by `spacing`, if that is given.

        Raises:
            SearchError: the pipeline does not run with another number of steps than the reference's.
            WorkloadError: it does not run with those of the reference, or the sampler has no such spacing.
        """
        if (steps, spacing) not in self._traces:
            with spaced(self.workload.pipeline, spacing):
                self._traces[steps, spacing] = self._traced(steps, spacing)
        return self._traces[steps, spacing]

    def _traced(self, steps: int, spacing: str | None) -> Trace:
        try:
            return self.workload.trace(steps)
        except (WorkloadError, RuntimeError) as error:  # what a pipeline raises that is left without a timestep
            if steps == self.workload.steps or isinstance(error, torch.OutOfMemoryError):
                raise
            name = type(self.workload.pipeline).__name__
            how = f"{steps} steps" + (f" spaced {spacing}" if spacing else "")
            raise SearchError(
                f"{name} does not run with {how}; expected a number of steps with which it calls its denoiser, as it "
                f"does with the {self.workload.steps} of the reference; leave that number out: {error}"
            ) from error

    def runs(self, steps: int, spacing: str | None = None) -> bool:
        """Whether the pipeline runs with so many steps: some samplers, and image to image, need a few at least."""
        try:
            self.trace_of(steps, spacing)
        except SearchError:
            return False
        return True

    def calls_of(self, steps: int, spacing: str | None = None) -> int:
        """Calls of the denoiser in a run of `steps` steps, its timesteps spread by `spacing`; see `trace_of`."""
        return self.trace_of(steps, spacing).num_calls

    @cached_property
    def reference(self) -> Reference:
        """The uncached run on the workload's seeds.

        Raises:
            SearchError: its images are not finite.
        """
        made = self._run("reference")
        check_images(made.images)
        return Reference(made.images, sum(made.seconds), made.seconds_per_sample)

    def measure(
        self,
        schedule: Schedule,
        *,
        steps: int | None = None,
        spacing: str | None = None,
        phase: str | None = None,
        enough: Enough | None = None,
    ) -> Measurement:
        """Run with `schedule`, and compare with the reference, which has all its steps and its own spacing.

        Args:
            schedule: as many calls as the run makes.
            steps: of the run; default: those of the reference.
            spacing: `timestep_spacing` of the sampler; default: that of the reference.
            phase: what progress calls this; None reports no progress.
            enough: asked after each batch but the last, with what was measured so far; True ends it there.

        Raises:
            NoFiguresError: images, or values of a quality function of one's own, that are not finite.
            SearchError: the pipeline does not run with so many steps, or the run did not follow the schedule.
            ScheduleError: the schedule does not fit the model or the number of calls.
        """
        calls = self.calls_of(steps or self.workload.steps, spacing)
        if schedule.num_calls != calls:
            raise SearchError(f"the schedule has {schedule.num_calls} calls, a run makes {calls}")
        return self._measure(schedule, steps, spacing, phase, enough)

    def measure_fewer_steps(self, steps: int, *, spacing: str | None = None, phase: str | None = None) -> Measurement:
        """Run the same sampler, uncached, for `steps` steps from the same initial noise; see `measure`."""
        return self._measure(None, steps, spacing, phase)

    def measure_candidate(
        self, candidate: Candidate, *, phase: str | None = None, enough: Enough | None = None
    ) -> Measurement:
        """Run what a trial asks for, a schedule or fewer steps; see `measure`."""
        if candidate.calls is None:
            return self.measure_fewer_steps(candidate.steps, spacing=candidate.spacing, phase=phase)
        schedule, steps, spacing = candidate.schedule(), candidate.steps, candidate.spacing
        return self.measure(schedule, steps=steps, spacing=spacing, phase=phase, enough=enough)

    def fewer_steps_macs(self, steps: int, spacing: str | None = None) -> float:
        """Mean MACs of an uncached run of `steps` steps, per call of the reference run and per sample."""
        return self.macs.full * self.calls_of(steps, spacing) / self.num_calls

    def _measure(
        self,
        schedule: Schedule | None,
        steps: int | None,
        spacing: str | None,
        phase: str | None,
        enough: Enough | None = None,
    ) -> Measurement:
        _ = self.reference  # before a schedule is attached
        uncached = self.fewer_steps_macs(steps or self.workload.steps, spacing)

        def measured(made: _Made) -> Measurement:
            return self._measured(made, uncached if schedule is None else self._macs_of(schedule, made))

        stop = None if enough is None else lambda made: enough(measured(made))
        return measured(self._run(phase, schedule, steps, spacing, stop))

    def _measured(self, made: _Made, macs: float) -> Measurement:
        images = made.images
        return Measurement(
            **self._qualities(images),
            mean_macs=macs,
            speedup=self.macs.full / macs,
            wall_seconds=sum(made.seconds),
            seconds_per_sample=made.seconds_per_sample,
            went_on=len(made.went_on) / self._deciders(made),
            calls_replayed=made.replayed.total() / self._deciders(made),
            macs_replayed=sum(count * self._cost(what) for what, count in made.replayed.items())
            / self._deciders(made)
            / self.num_calls,
            images=images if self._keep_images else None,
        )

    def _qualities(self, images: Tensor) -> dict[str, Tensor]:
        """(n,) of each quality of the first n images, by its name in `Measurement`."""
        reference = self.reference.images[: len(images)]
        try:
            found = {"psnr": psnr(images, reference), "ssim": ssim(images, reference)}
            if self._quality is not None:
                found["own"] = own_quality(self._quality, images, reference, self._prompts(len(images)))
        except SearchError as error:
            raise NoFiguresError(str(error)) from error
        return found

    def _macs_of(self, schedule: Schedule, made: _Made) -> float:
        """Mean MACs of a run: those of the schedule, and of the calls that went on, of all samples and sides."""
        saved = {cut: self.macs.full - cost for cut, cost in self.macs.partial.items()}
        more = sum(saved[cut] for call in made.went_on if (cut := schedule.calls[call]) != "full")
        planned = schedule.mean_macs(self.macs.full, self.macs.partial) * (schedule.num_calls / self.num_calls)
        return planned + more / self._deciders(made) / self.num_calls

    def _cost(self, what: Literal["full"] | int) -> int:
        return self.macs.full if what == "full" else self.macs.partial[what]

    def _deciders(self, made: _Made) -> int:
        """How many samples and sides of guidance there were."""
        return sum(map(len, made.batches)) * self.trace.sides

    def _prompts(self, count: int) -> tuple[str, ...]:
        """Those of the first `count` images, one each; () for a model that takes none."""
        prompts = self.workload.prompts
        return tuple(prompts[seed % len(prompts)] for seed in self.workload.seeds[:count]) if prompts else ()

    def _run(
        self,
        phase: str | None,
        schedule: Schedule | None = None,
        steps: int | None = None,
        spacing: str | None = None,
        stop: Callable[[_Made], bool] | None = None,
    ) -> _Made:
        made = _Made()
        done, total = 0, len(self.workload.seeds)
        pipeline, outputs = self.workload.pipeline, self._outputs
        with spaced(pipeline, spacing), _attached(pipeline, schedule, outputs) as handle:
            for seeds in self.workload.batches():
                if outputs is not None:
                    outputs.begin()
                began = time.perf_counter()
                made.batches.append(self.workload.run(seeds, steps=steps))
                made.seconds.append(time.perf_counter() - began)
                if handle is not None and handle.stats.forced:
                    call, why = handle.stats.forced[0]
                    raise SearchError(f"the run did not follow the schedule: call {call} ran full because {why}")
                if handle is not None:
                    made.went_on.extend(handle.stats.went_on * len(seeds))
                if outputs is not None:
                    made.replayed.update({what: count * len(seeds) for what, count in outputs.replayed.items()})
                done += len(seeds)
                if phase is not None and self._progress is not None:
                    self._progress(phase, done, total)
                if stop is not None and done < total and stop(made):
                    break
        return made


@contextmanager
def _attached(pipeline: Any, schedule: Schedule | None, outputs: Outputs | None) -> Iterator[Handle | None]:
    if outputs is not None and may_replay(pipeline, schedule):
        with replaying(pipeline, schedule, outputs) as handle:
            yield handle
    elif schedule is None:
        yield None
    else:
        with cached(pipeline, schedule) as handle:
            yield handle
