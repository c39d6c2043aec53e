"""Measuring a schedule, or fewer steps, against the uncached run on the same seeds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from deepcadence.probe import Macs, Trace, Workload, count_macs
from deepcadence.schedules import Handle, Schedule, cached, denoiser, family_of
from deepcadence.search.candidates import Candidate
from deepcadence.search.errors import SearchError
from deepcadence.search.quality import QualityFunction, check_images, own_quality, psnr, ssim

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
            schedules and runs with fewer steps.
        speedup: MACs of a full call divided by `mean_macs`.
        wall_seconds: of all runs together, image decoding included.
        seconds_per_sample: median over the batches, so that a slow first batch does not count.
        images: (n, channels, height, width) float32 in [0, 1], if they were asked for.
    """

    psnr: Tensor
    ssim: Tensor
    mean_macs: float
    speedup: float
    wall_seconds: float
    seconds_per_sample: float
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


Enough = Callable[[Measurement], bool]
"""Whether what was measured on the first seeds is enough."""


@dataclass(frozen=True)
class Reference:
    """The uncached run: images (n, channels, height, width) float32 in [0, 1], and how long it took."""

    images: Tensor
    wall_seconds: float
    seconds_per_sample: float


class Evaluator:
    """Measures ways of running one workload against its uncached run, which is computed once, when first needed.

    Args:
        workload: pipeline, steps, seeds, prompts.
        macs: cost of a call; counted exactly if not given.
        quality: a function of one's own that is measured too.
        keep_images: hold on to the images of each measurement.
        progress: told of each batch that is done.
    """

    def __init__(
        self,
        workload: Workload,
        *,
        macs: Macs | None = None,
        quality: QualityFunction | None = None,
        keep_images: bool = False,
        progress: Progress | None = None,
    ) -> None:
        if not workload.seeds:
            raise SearchError("the workload has no seeds; expected at least one")
        self.workload = workload
        self._macs = macs
        self._quality = quality
        self._keep_images = keep_images
        self._progress = progress
        self._calls: dict[int, int] = {}

    @cached_property
    def macs(self) -> Macs:
        """MACs of a full call and of a partial call at each cut, per sample."""
        if self._macs is not None:
            return self._macs
        model = denoiser(self.workload.pipeline)
        return count_macs(model, size=family_of(model).size_of(model, self.trace.sample_shape))

    @cached_property
    def trace(self) -> Trace:
        """How a run of the reference calls its denoiser."""
        return self.workload.trace()

    @property
    def num_calls(self) -> int:
        """Calls of the denoiser in a run of the reference."""
        return self.trace.num_calls

    def calls_of(self, steps: int) -> int:
        """Calls of the denoiser in a run of `steps` steps."""
        if steps == self.workload.steps:
            return self.num_calls
        if steps not in self._calls:
            self._calls[steps] = self.workload.num_calls(steps)
        return self._calls[steps]

    @cached_property
    def reference(self) -> Reference:
        """The uncached run on the workload's seeds.

        Raises:
            SearchError: its images are not finite.
        """
        batches, seconds = self._run("reference")
        images = torch.cat(batches)
        check_images(images)
        return Reference(images, sum(seconds), self._per_sample(batches, seconds))

    def measure(self, schedule: Schedule, *, phase: str | None = None, enough: Enough | None = None) -> Measurement:
        """Run with `schedule`.

        Args:
            schedule: as many calls as the reference makes.
            phase: what progress calls this; None reports no progress.
            enough: asked after each batch but the last, with what was measured so far; True ends it there.

        Raises:
            SearchError: images that are not finite, a run that did not follow the schedule, or a schedule with reuse
                "adaptive", whose MACs depend on the input.
            ScheduleError: the schedule does not fit the model or the number of calls.
        """
        if schedule.num_calls != self.num_calls:
            raise SearchError(f"the schedule has {schedule.num_calls} calls, a run makes {self.num_calls}")
        if schedule.reuse.mode == "adaptive":
            raise SearchError(
                'the MACs of a schedule with reuse mode "adaptive" depend on the input, so it cannot be compared at '
                "equal MACs; give one that holds or extrapolates"
            )
        return self._measure(schedule, None, schedule.mean_macs(self.macs.full, self.macs.partial), phase, enough)

    def measure_fewer_steps(self, steps: int, *, phase: str | None = None) -> Measurement:
        """Run the same sampler, uncached, for `steps` steps from the same initial noise; see `measure`."""
        return self._measure(None, steps, self.fewer_steps_macs(steps), phase)

    def measure_candidate(
        self, candidate: Candidate, *, phase: str | None = None, enough: Enough | None = None
    ) -> Measurement:
        """Run what a trial asks for, a schedule or fewer steps; see `measure`."""
        if candidate.calls is None:
            return self._measure(None, candidate.steps, self.fewer_steps_macs(candidate.steps), phase, enough)
        return self.measure(candidate.schedule(), phase=phase, enough=enough)

    def fewer_steps_macs(self, steps: int) -> float:
        """Mean MACs of a run of `steps` steps, per call of the reference run and per sample."""
        return self.macs.full * self.calls_of(steps) / self.num_calls

    def _measure(
        self,
        schedule: Schedule | None,
        steps: int | None,
        macs: float,
        phase: str | None,
        enough: Enough | None = None,
    ) -> Measurement:
        _ = self.reference  # before a schedule is attached

        def measured(batches: list[Tensor], seconds: list[float]) -> Measurement:
            return self._measured(batches, seconds, macs)

        stop = None if enough is None else lambda batches, seconds: enough(measured(batches, seconds))
        return measured(*self._run(phase, schedule, steps, stop))

    def _measured(self, batches: list[Tensor], seconds: list[float], macs: float) -> Measurement:
        images = torch.cat(batches)
        reference = self.reference.images[: len(images)]
        return Measurement(
            psnr=psnr(images, reference),
            ssim=ssim(images, reference),
            mean_macs=macs,
            speedup=self.macs.full / macs,
            wall_seconds=sum(seconds),
            seconds_per_sample=self._per_sample(batches, seconds),
            images=images if self._keep_images else None,
            own=None
            if self._quality is None
            else own_quality(self._quality, images, reference, self._prompts(len(images))),
        )

    def _prompts(self, count: int) -> tuple[str, ...]:
        """Those of the first `count` images, one each; () for a model that takes none."""
        prompts = self.workload.prompts
        return tuple(prompts[seed % len(prompts)] for seed in self.workload.seeds[:count]) if prompts else ()

    def _run(
        self,
        phase: str | None,
        schedule: Schedule | None = None,
        steps: int | None = None,
        stop: Callable[[list[Tensor], list[float]], bool] | None = None,
    ) -> tuple[list[Tensor], list[float]]:
        batches: list[Tensor] = []
        seconds: list[float] = []
        done, total = 0, len(self.workload.seeds)
        with _attached(self.workload.pipeline, schedule) as handle:
            for seeds in self.workload.batches():
                began = time.perf_counter()
                batches.append(self.workload.run(seeds, steps=steps))
                seconds.append(time.perf_counter() - began)
                if handle is not None and handle.stats.forced:
                    call, why = handle.stats.forced[0]
                    raise SearchError(f"the run did not follow the schedule: call {call} ran full because {why}")
                done += len(seeds)
                if phase is not None and self._progress is not None:
                    self._progress(phase, done, total)
                if stop is not None and done < total and stop(batches, seconds):
                    break
        return batches, seconds

    @staticmethod
    def _per_sample(batches: list[Tensor], seconds: list[float]) -> float:
        return statistics.median(s / len(batch) for s, batch in zip(seconds, batches, strict=True))


@contextmanager
def _attached(pipeline: Any, schedule: Schedule | None) -> Iterator[Handle | None]:
    if schedule is None:
        yield None
        return
    with cached(pipeline, schedule) as handle:
        yield handle
