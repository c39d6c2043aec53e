"""What reuse at one call does to the final image, for every call, cut and age of the feature: vectors, for summing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch

from deepcadence.probe._called import answering
from deepcadence.probe.errors import ProfileError
from deepcadence.probe.macs import Macs
from deepcadence.probe.responses import Push, responses
from deepcadence.probe.reuse_errors import ReuseErrors
from deepcadence.probe.workload import Workload, to_images

__all__ = ["AGES", "Effects", "measure_effects"]

AGES = (1, 2, 3, 5, 8, 13)
"""Ages of features, in calls, that are tried."""

_DIMENSIONS = 128  # of an error, projected: lengths to within 12%, and much closer for errors that are alike


@dataclass(frozen=True, eq=False)
class Effects:
    """The errors that reuse makes in the denoiser's output at single calls, and how much each moves the final image.

    Attributes:
        errors: (cuts, ages, calls, samples, dimensions), float32 on the CPU: output of the partial call less that of
            the full call, when call j reuses the feature of call j - age. Projected at random, so that squared lengths
            are right in the mean. Zero where j < age.
        gains: (calls,): root mean square change of an image's values, which are from 0 to 1, per length of an error
            in that call's output.
        cuts, ages, seeds: what was measured, in the order of `errors`.
        cost: what the measurement took, in plain runs of one sample, counted in MACs.
    """

    errors: torch.Tensor
    gains: torch.Tensor
    cuts: tuple[int, ...]
    ages: tuple[int, ...]
    seeds: tuple[int, ...]
    cost: float

    @property
    def num_calls(self) -> int:
        """Calls of a run (T)."""
        return len(self.gains)


def measure_effects(
    workload: Workload,
    cuts: Iterable[int],
    macs: Macs,
    *,
    pushed_calls: int = 9,
    progress: Callable[[str, int, int], None] | None = None,
) -> Effects:
    """Measure the effects of reuse along the uncached run of each of the workload's seeds.

    At each call, older features are tried at each cut. At a few calls one of the errors found is added to the output,
    and the rest of the run is computed again: the change of the image tells how much errors at that call matter.
    Between these calls the gain is interpolated. Pushing by real errors matters: white noise of the same length is
    mostly removed by the calls that follow.

    Held are the features of the last 13 calls at each cut, and the outputs of all calls.

    Args:
        workload: its seeds are the samples, run as one batch; two are enough to rank schedules.
        cuts: at which cuts to try.
        macs: cost of the calls.
        pushed_calls: how many calls to push at, evenly from 1 to the last.
        progress: told as `progress("predictor", calls done, calls in all)`, in full calls of one sample.

    Raises:
        ProfileError: there is nothing to reuse, a result is not finite, or the number of calls changes between runs.
    """
    return _Measuring(workload, tuple(sorted(set(cuts))), macs, pushed_calls, progress).run()


class _Measuring:
    """The state of one measurement."""

    def __init__(
        self,
        workload: Workload,
        cuts: tuple[int, ...],
        macs: Macs,
        pushed_calls: int,
        progress: Callable[[str, int, int], None] | None,
    ) -> None:
        self.workload, self.cuts, self.macs, self.progress = workload, cuts, macs, progress
        self.trace = workload.trace()
        self.calls, self.samples = self.trace.num_calls, len(workload.seeds)
        if self.calls < 2 or not self.samples:
            raise ProfileError(f"found {self.calls} calls and {self.samples} seeds, expected at least 2 and 1")
        self.ages = tuple(age for age in AGES if age < self.calls)
        self.pushed = sorted({round(x) for x in torch.linspace(1, self.calls - 1, pushed_calls).tolist()})
        tried = sum(age <= call for call in range(self.calls) for age in self.ages)
        partial = tried * sum(macs.partial[cut] for cut in cuts) / macs.full
        self.done = 0.0  # full calls of one sample
        self.total = self.samples * (self.calls + partial + sum(self.calls - 1 - call for call in self.pushed))

    def run(self) -> Effects:
        recording, images = self._recording()
        gains = between(self._gains(recording, images), self.calls)
        errors = torch.stack(recording.errors, dim=2)
        if not bool(errors.isfinite().all() and gains.isfinite().all()):
            raise ProfileError("found an output or an image that is not finite after reuse, expected finite numbers")
        return Effects(errors, gains, self.cuts, self.ages, self.workload.seeds, self.done / self.calls)

    def _recording(self) -> tuple[ReuseErrors, torch.Tensor]:
        """The uncached run, with older features tried at each call, and its images."""
        workload = self.workload
        recording = ReuseErrors(workload.pipeline, self.cuts, self.ages, self.samples, self.pushed, _DIMENSIONS)
        recording.told = self._tell
        with answering(workload.pipeline, recording):
            images = to_images(workload.call(workload.seeds), workload.pipeline, workload.seeds)
        if len(recording.outputs) != self.calls:
            raise ProfileError(f"found a run of {len(recording.outputs)} calls, expected {self.calls}, as before")
        return recording, images

    def _gains(self, recording: ReuseErrors, images: torch.Tensor) -> dict[int, float]:
        """At each pushed call the geometric mean over samples."""
        places = [(call, sample) for call in self.pushed for sample in range(self.samples)]
        pushes: list[Push] = [(call, sample, recording.whole[call][sample]) for call, sample in places]
        changed = responses(
            self.workload, recording.outputs, recording.template, pushes, lambda rows: self._tell(rows, {})
        )
        logs: dict[int, list[torch.Tensor]] = {call: [] for call in self.pushed}
        for (call, sample), image in zip(places, changed, strict=True):
            change = (image - images[sample]).double().square().mean().sqrt().cpu()
            length = recording.whole[call][sample].double().norm().cpu()
            logs[call].append((change.clamp_min(1e-12) / length.clamp_min(1e-12)).log())
        return {call: float(torch.stack(found).mean().exp()) for call, found in logs.items()}

    def _tell(self, full: int, partial: Mapping[int, int]) -> None:
        rows = full + sum(count * self.macs.partial[cut] for cut, count in partial.items()) / self.macs.full
        self.done += rows / self.trace.rows
        if self.progress is not None:
            self.progress("predictor", min(round(self.done), round(self.total)), round(self.total))


def between(at: Mapping[int, float], calls: int) -> torch.Tensor:
    """Gains of all calls, (calls,): those `at` some, between them on a straight line of logarithms; zero at call 0."""
    known = sorted(at)
    logs = torch.tensor([at[call] for call in known], dtype=torch.float64).log()
    found = torch.zeros(calls, dtype=torch.float64)
    for call in range(known[0], calls):
        high = min(number for number, each in enumerate(known) if each >= call)
        low = max(0, high - 1) if known[high] != call else high
        part = (call - known[low]) / max(1, known[high] - known[low])
        found[call] = (logs[low] * (1 - part) + logs[high] * part).exp()
    return found
