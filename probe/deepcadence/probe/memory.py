"""How much memory probing needs, said before it begins."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from deepcadence.probe._cuts import chosen_cuts
from deepcadence.probe._trace import Trace
from deepcadence.probe.errors import ProfileError
from deepcadence.probe.macs import feature_shapes
from deepcadence.probe.output_error import MAX_ROWS
from deepcadence.probe.projection import ProjectionInfo, projection_info, table_bytes
from deepcadence.probe.similarity import WORK_BYTES
from deepcadence.probe.workload import Workload
from deepcadence.schedules import denoiser
from deepcadence.schedules.families import family_of

__all__ = ["DEFAULT_MEMORY_LIMIT", "MemoryPlan", "estimate_memory"]

DEFAULT_MEMORY_LIMIT = 4 * 2**30
_GOOD_DIMENSIONS, _FEWEST_DIMENSIONS, _MOST_DIMENSIONS = 4096, 256, 65536


@dataclass(frozen=True)
class MemoryPlan:
    """What probing holds on the device, on top of what a plain run of the same batch takes.

    Attributes:
        bytes: memory that will be held at most, working space included.
        bytes_to_hold_all: memory that holding all features of `batch_size` samples would take.
        limit: the memory that was granted.
        batch_size: samples in one run; fewer than the workload's where that makes the features fit.
        projection: None if all features are held, or how they are projected.
        max_distance: largest j - i for which output errors can be measured; 0 for none.
        work_bytes: the working space of comparisons.
    """

    bytes: int
    bytes_to_hold_all: int
    limit: int
    batch_size: int
    projection: ProjectionInfo | None
    max_distance: int
    work_bytes: int

    def __str__(self) -> str:
        way = "all features are held"
        if self.projection is not None:
            way = (
                f"holding all features would take {_amount(self.bytes_to_hold_all)}, so they are projected to "
                f"{self.projection.dimensions} dimensions (distances within {self.projection.relative_error:.1%} with "
                f"{self.projection.confidence:.0%} confidence, no L1 distances)"
            )
        samples = f"{self.batch_size} sample{'s' if self.batch_size > 1 else ''} at a time"
        errors = f"output errors of features up to {self.max_distance} calls old" if self.max_distance else ""
        return f"{_amount(self.bytes)} of {_amount(self.limit)}, {samples}; {way}; {errors or 'no output errors'}"


@dataclass(frozen=True)
class _Need:
    """Sizes, from which the memory of each way follows."""

    calls: int
    rows: int
    itemsize: int
    sizes: tuple[int, ...]
    work: int

    def held(self, batch: int) -> int:
        return self.calls * self.rows * batch * self.itemsize * sum(self.sizes)

    def matrices(self, batch: int) -> int:
        return 6 * 8 * self.rows * batch * self.calls**2

    def window(self, batch: int, distance: int) -> int:
        return min(distance, self.calls) * self.rows * batch * self.itemsize * sum(self.sizes)

    def repeated(self, batch: int, distance: int) -> int:
        rows = self.rows * batch
        times = min(distance, max(1, MAX_ROWS // rows), self.calls)
        return times * rows * self.itemsize * max(self.sizes)

    def projected(self, batch: int, dimensions: int) -> int:
        sketches = sum(min(size, dimensions) for size in self.sizes)
        passing = max(self.sizes) * self.rows * batch * 8  # a feature as float32, and reordered
        return (
            passing
            + self.calls * self.rows * batch * 4 * sketches
            + sum(table_bytes(size, dimensions) for size in self.sizes)
        )


def estimate_memory(
    workload: Workload,
    cuts: Iterable[int] | None = None,
    *,
    memory_limit: int = DEFAULT_MEMORY_LIMIT,
    max_distance: int | None = 10,
    projection_seed: int = 0,
) -> MemoryPlan:
    """Say how much memory `probe` will need with these arguments, and which way it will take.

    It evaluates the denoiser once, and computes the shapes of its features without running it.

    Raises:
        ProfileError: even a projection does not fit in `memory_limit` bytes.
    """
    model = denoiser(workload.pipeline)
    family = family_of(model)
    chosen = chosen_cuts(family.cuts(model), cuts)
    trace = workload.trace()
    shapes = feature_shapes(model, family.size_of(model, trace.sample_shape), chosen)
    return plan_memory(workload, trace, shapes, memory_limit, max_distance, projection_seed)


def plan_memory(
    workload: Workload,
    trace: Trace,
    shapes: Sequence[tuple[int, ...]],
    limit: int,
    max_distance: int | None,
    seed: int,
) -> MemoryPlan:
    """`estimate_memory` with what it found out about the workload: `shapes` are those of the features of a sample."""
    sizes = tuple(math.prod(shape) for shape in shapes)
    need = _Need(trace.num_calls, trace.rows, trace.dtype.itemsize, sizes, min(WORK_BYTES, limit // 8))
    wanted = trace.num_calls - 1 if max_distance is None else min(max_distance, trace.num_calls - 1)
    most = max(1, min(workload.batch_size, len(workload.seeds)))
    for batch in range(most, 0, -1):
        total = need.held(batch) + need.repeated(batch, wanted) + need.matrices(batch) + need.work
        if total <= limit:
            return MemoryPlan(total, need.held(batch), limit, batch, None, wanted, need.work)
    return _projecting(need, limit, most, wanted, seed)


def _projecting(need: _Need, limit: int, most: int, wanted: int, seed: int) -> MemoryPlan:
    """The largest batch, or else the best projection of one sample, that fits; output errors give way last."""
    options = [(batch, _GOOD_DIMENSIONS) for batch in range(most, 0, -1)]
    options += [(1, 2**power) for power in range(11, 7, -1)]
    distances = sorted({wanted, *range(min(wanted, 2))}, reverse=True)
    fitting = (
        (batch, dimensions, distance)
        for distance in distances
        for batch, dimensions in options
        if _total(need, batch, dimensions, distance) <= limit
    )
    found = next(fitting, None)
    if found is None:
        least = _total(need, 1, _FEWEST_DIMENSIONS, 0)
        raise ProfileError(
            f"memory_limit: found {_amount(limit)}, expected at least {_amount(least)}, which a projection of one "
            "sample takes; allow more, or probe fewer cuts"
        )
    batch, dimensions, distance = found
    while distance < wanted and _total(need, batch, dimensions, distance + 1) <= limit:
        distance += 1
    while dimensions < _MOST_DIMENSIONS and _total(need, batch, 2 * dimensions, distance) <= limit:
        dimensions *= 2
    total = _total(need, batch, dimensions, distance)
    return MemoryPlan(total, need.held(batch), limit, batch, projection_info(dimensions, seed), distance, need.work)


def _total(need: _Need, batch: int, dimensions: int, distance: int) -> int:
    window = need.window(batch, distance) + need.repeated(batch, distance)
    return need.projected(batch, dimensions) + window + need.matrices(batch) + need.work


def _amount(count: int) -> str:
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
