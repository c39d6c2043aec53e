"""Probing: one uncached run per batch of samples, and all that is learned from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

from deepcadence.probe._cuts import chosen_cuts
from deepcadence.probe._moments import Moments
from deepcadence.probe._trace import Trace, without_decoding
from deepcadence.probe.errors import ProfileError
from deepcadence.probe.info import ProfileInfo
from deepcadence.probe.macs import Macs, count_macs
from deepcadence.probe.memory import DEFAULT_MEMORY_LIMIT, MemoryPlan, plan_memory
from deepcadence.probe.profile import Profile
from deepcadence.probe.ranks import gather, share
from deepcadence.probe.record import Recording, record
from deepcadence.probe.setup import Setup
from deepcadence.probe.similarity import compare
from deepcadence.probe.workload import Workload
from deepcadence.schedules import denoiser, model_info, sampler_info
from deepcadence.schedules.families import family_of
from deepcadence.schedules.provenance import Created

__all__ = ["Progress", "probe"]

Progress = Callable[[str, int, int], None]
_MEASURES = ("cosine", "relative_l2", "relative_l1", "output_error")


def probe(
    workload: Workload,
    *,
    cuts: Iterable[int] | None = None,
    memory_limit: int = DEFAULT_MEMORY_LIMIT,
    max_distance: int | None = 10,
    error_samples: int | None = 2,
    projection_seed: int = 0,
    progress: Progress | None = None,
) -> Profile:
    """Measure how alike the features of a model are over the calls of a run, and what reusing them does to its output.

    The time goes into runs of the whole model, one for each sample, and into the partial calls that the output errors
    take: one per cut, per call, and per older feature that is tried. `max_distance` and `error_samples` bound the
    latter. In a process group of `torch.distributed` (through gloo, or the default backends) each rank takes some of
    the samples, and all get the same profile.

    Args:
        workload: what to run; its `seeds` are the samples.
        cuts: which cuts; all if None.
        memory_limit: bytes that probing may hold, on top of what the run itself takes. If all features of one sample
            do not fit, projections of them are held: see `estimate_memory`, which says so beforehand.
        max_distance: measure output errors for features up to this many calls old; None for any age, 0 for none.
        error_samples: measure output errors on this many of the samples, the first; None for all.
        projection_seed: seed of the projection, where one is needed.
        progress: called as `progress("probe", calls done, calls in all)`; partial calls count.

    Raises:
        ProfileError: a feature or an output is not finite, or is zero everywhere; the batch or the number of calls
            changes during a run; `memory_limit` is too small.
        UnsupportedModelError: the denoiser is of no known family.
        WorkloadError: the workload does not fit its pipeline.
    """
    return _Probe(workload, cuts, memory_limit, max_distance, error_samples, projection_seed, progress).run()


class _Probe:
    """The state of one probing."""

    def __init__(
        self,
        workload: Workload,
        cuts: Iterable[int] | None,
        memory_limit: int,
        max_distance: int | None,
        error_samples: int | None,
        seed: int,
        progress: Progress | None,
    ) -> None:
        ranks = len(gather(torch.zeros(())))
        if len(workload.seeds) < ranks:
            expected = "at least one" if ranks == 1 else f"at least {ranks}, one for each rank"
            raise ProfileError(f"seeds: found {len(workload.seeds) or 'none'}, expected {expected}")
        self.workload = workload
        self.model = denoiser(workload.pipeline)
        family = family_of(self.model)
        self.layers = family.cuts(self.model)
        self.cuts = chosen_cuts(self.layers, cuts)
        _check_counts(max_distance=max_distance, error_samples=error_samples, projection_seed=seed)
        self.trace: Trace = workload.trace()
        self.macs: Macs = count_macs(self.model, size=family.size_of(self.model, self.trace.sample_shape))
        shapes = [self.macs.feature_shapes[cut] for cut in self.cuts]
        self.plan: MemoryPlan = plan_memory(workload, self.trace, shapes, memory_limit, max_distance, seed)
        number = len(workload.seeds) if error_samples is None else error_samples
        self.error_seeds = workload.seeds[:number] if self.plan.max_distance else ()
        mine = set(share(workload.seeds))
        self.shares = [
            (tuple(seed for seed in seeds if seed in mine), distance)
            for seeds, distance in (
                (self.error_seeds, self.plan.max_distance),
                (workload.seeds[len(self.error_seeds) :], 0),
            )
        ]
        self.progress = progress
        self.done, self.total = 0, self._total_calls()
        self.moments = {name: Moments() for name in _MEASURES}
        self.timesteps: tuple[float, ...] | None = None

    def run(self) -> Profile:
        """Run all batches of this rank, those with output errors first."""
        for seeds, distance in self.shares:
            for batch in self.workload.replace(seeds=seeds, batch_size=self.plan.batch_size).batches():
                self._run_batch(batch, distance)
        return Profile(**self._matrices(), meta=self._meta())

    def _run_batch(self, seeds: tuple[int, ...], distance: int) -> None:
        pipeline, plan = self.workload.pipeline, self.plan
        with record(pipeline, self.cuts, projection=plan.projection, max_distance=distance) as recording:
            recording.on_call = lambda calls: self._tell(len(seeds) * calls)
            self.workload.call(seeds, **without_decoding(pipeline))
        if recording.num_calls != self.trace.num_calls:
            raise ProfileError(
                f"found a run of {recording.num_calls} calls, expected {self.trace.num_calls}, as before"
            )
        self.timesteps = recording.timestep_numbers()
        rows = self._rows(recording)
        self._compare(recording, len(seeds))
        if recording.errors is not None:
            found = recording.errors.matrices(rows, recording.num_calls)
            self._add("output_error", [found[cut] for cut in self.cuts], len(seeds))

    def _rows(self, recording: Recording) -> int:
        """Rows of each call, all sides of guidance together."""
        first, *others = map(len, recording.features[self.cuts[0]])
        if any(rows != first for rows in others):
            raise ProfileError("found guidance that is not computed in every step, which cannot be profiled")
        return first

    def _compare(self, recording: Recording, samples: int) -> None:
        results: dict[str, list[torch.Tensor]] = {"cosine": [], "relative_l2": [], "relative_l1": []}
        for cut in self.cuts:
            norms = torch.stack(recording.norms[cut], dim=1) if recording.norms[cut] else None
            whole = self.plan.projection is None
            pairs = compare(recording.features[cut], norms=norms, l1=whole, work_bytes=self.plan.work_bytes)
            recording.features[cut].clear()
            _check_lengths(cut, pairs.norms)
            results["cosine"].append(pairs.cosine)
            results["relative_l2"].append(pairs.relative_l2)
            nothing = torch.full_like(pairs.cosine, float("nan"))
            results["relative_l1"].append(nothing if pairs.relative_l1 is None else pairs.relative_l1)
        for name, found in results.items():
            self._add(name, found, samples)

    def _add(self, name: str, found: list[torch.Tensor], samples: int) -> None:
        """Take in matrices (rows, T, T), one per cut, of a batch: rows of the same sample are averaged.

        Guidance stacks whole batches, so row r belongs to sample r modulo the number of samples.
        """
        by_row = torch.stack(found, dim=1)
        branches = len(by_row) // samples if len(by_row) % samples == 0 else 1
        self.moments[name].add(by_row.reshape(branches, -1, *by_row.shape[1:]).mean(0))

    def _matrices(self) -> dict[str, torch.Tensor]:
        shape = len(self.cuts), self.trace.num_calls, self.trace.num_calls
        matrices: dict[str, torch.Tensor] = {}
        for name, moments in self.moments.items():
            moments.join(shape)
            matrices[name] = moments.mean.expand(shape).clone() if moments.count else torch.full(shape, float("nan"))
            matrices[f"{name}_std"] = moments.std.expand(shape).clone()
        return matrices

    def _meta(self) -> ProfileInfo:
        first = next(self.model.parameters())
        return ProfileInfo(
            model=model_info(self.model, self.layers),
            sampler=sampler_info(self.workload.sampler, self.timesteps),
            macs=self.macs,
            cuts=self.cuts,
            num_calls=self.trace.num_calls,
            steps=self.workload.steps,
            seeds=self.workload.seeds,
            error_seeds=self.error_seeds,
            max_distance=self.plan.max_distance if self.error_seeds else 0,
            prompts=self.workload.prompts,
            rows=self.trace.rows,
            dtype=str(self.trace.dtype).removeprefix("torch."),
            device=first.device.type,
            projection=self.plan.projection,
            created=Created.now(),
            setup=Setup.now(),
        )

    def _total_calls(self) -> int:
        """Full calls of this rank's samples, and the partial calls of those whose output errors are measured."""
        calls, reach = self.trace.num_calls, self.plan.max_distance
        partial = len(self.cuts) * sum(min(call, reach) for call in range(calls))
        tried, others = (len(seeds) for seeds, _ in self.shares)
        return self.trace.sides * (calls * (tried + others) + partial * tried)

    def _tell(self, calls: int) -> None:
        self.done += calls
        if self.progress is not None:
            self.progress("probe", self.done, self.total)


def _check_counts(**counts: int | None) -> None:
    for name, value in counts.items():
        if value is not None and value < 0:
            raise ProfileError(f"{name}: found {value}, expected a whole number of at least 0")


def _check_lengths(cut: int, norms: torch.Tensor) -> None:
    """Every feature must have a finite length above zero."""
    wrong = ~norms.isfinite() | (norms <= 0)
    if wrong.any():
        row, call = wrong.nonzero()[0].tolist()
        what = "zero everywhere" if norms[row, call] == 0 else "with values that are nan or infinite"
        raise ProfileError(
            f"cut {cut}, call {call}: found a feature {what}, expected finite numbers; in half precision this is often "
            "an overflow, which bfloat16 or float32 avoid"
        )
