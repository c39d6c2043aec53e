"""Recording the features of a run, on the device that makes them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from deepcadence.probe._called import answering, by_row, output_tensor, timestep_numbers, timestep_of
from deepcadence.probe._cuts import chosen_cuts
from deepcadence.probe.errors import ProfileError
from deepcadence.probe.output_error import OutputErrors
from deepcadence.probe.projection import Projection, ProjectionInfo
from deepcadence.schedules import denoiser
from deepcadence.schedules.families import family_of
from deepcadence.schedules.families.inputs import by_name, parameter_names
from deepcadence.schedules.guided import Side, Sides

__all__ = ["Recording", "record"]


class Recording:
    """What a run's calls left behind.

    Attributes:
        features: for each cut, one tensor per call: the feature, (rows, channels, height, width), for a video (rows,
            frames, channels, height, width), of a transformer (rows, tokens, channels), or its projection, float32
            (rows, dimensions). Where the sides of guidance are calls of their own, they count as one call: the rows of
            one side come after those of the other.
        norms: for each cut, the length of each call's feature, (rows,) in float32; only where features are projected.
        timesteps: the denoiser's timestep argument in each call, as it was given.
        errors: the output errors, where they were asked for.
        on_call: called after each call with the number of calls it made, partial ones included.
    """

    def __init__(
        self,
        pipeline: Any,
        cuts: Iterable[int] | None = None,
        *,
        projection: ProjectionInfo | None = None,
        max_distance: int = 0,
    ) -> None:
        model = denoiser(pipeline)
        family = family_of(model)
        self.cuts = chosen_cuts(family.cuts(model), cuts)
        self._views = family.views(model, self.cuts)
        self._names = parameter_names(model)
        self._projection = projection
        self._projections: dict[int, Projection] = {}
        self._max_distance = max_distance
        self._side_of = Sides(self._names)
        self._calls: dict[Side, int] = {}
        self._recent: dict[Side, dict[int, deque[torch.Tensor]]] = {}
        self._shapes: dict[tuple[Side, int], torch.Size] = {}
        self.errors = OutputErrors(self._views, self.cuts, self._names, max_distance) if max_distance else None
        self.features: dict[int, list[torch.Tensor]] = {cut: [] for cut in self.cuts}
        self.norms: dict[int, list[torch.Tensor]] = {cut: [] for cut in self.cuts}
        self.timesteps: list[Any] = []
        self.on_call: Callable[[int], None] | None = None

    @property
    def num_calls(self) -> int:
        """Calls so far."""
        return len(self.timesteps)

    def timestep_numbers(self) -> tuple[float, ...] | None:
        """The timesteps as numbers; None if the denoiser takes none. Waits for the device."""
        return timestep_numbers(self.timesteps)

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Answer one call of the denoiser as the denoiser would, and keep its features."""
        side = self._side_of(args, kwargs)
        recent = self._recent.setdefault(side, {cut: deque(maxlen=self._max_distance) for cut in self.cuts})
        call = self._calls.get(side, 0)
        self._check_sides(call)
        output, features = self._views.full(*args, **kwargs)
        first_row = len(self.features[self.cuts[0]][call]) if call < self.num_calls else 0
        tried = self.errors.measure(call, output, recent, args, kwargs, first_row) if self.errors else 0
        for cut in self.cuts:
            if cut not in features:
                raise ProfileError(f"cut {cut}: found a call that skips layers at this cut, which cannot be profiled")
            feature = features[cut].detach()
            self._check_shape(side, cut, call, feature)
            self._keep(cut, call, by_row(feature, len(output_tensor(output))))
            recent[cut].append(feature)
        self._calls[side] = call + 1
        if call == self.num_calls:
            named = by_name(self._names, args, kwargs)
            self.timesteps.append(timestep_of(named))
        if self.on_call is not None:
            self.on_call(1 + tried)
        return output

    def _keep(self, cut: int, call: int, feature: torch.Tensor) -> None:
        if self._projection is None:
            _put(self.features[cut], call, feature)
            return
        if cut not in self._projections:
            size = feature[0].numel()
            chosen = self._projection
            self._projections[cut] = Projection(size, chosen.dimensions, chosen.seed + cut, feature.device)
        _put(self.features[cut], call, self._projections[cut](feature))
        _put(self.norms[cut], call, torch.linalg.vector_norm(feature.flatten(1), dim=1, dtype=torch.float32))

    def _check_shape(self, side: Side, cut: int, call: int, feature: torch.Tensor) -> None:
        expected = self._shapes.setdefault((side, cut), feature.shape)
        if feature.shape != expected:
            raise ProfileError(
                f"cut {cut}, call {call}: found a feature of shape {list(feature.shape)}, expected {list(expected)} "
                "as in call 0; a run whose batch or size changes cannot be profiled"
            )

    def _check_sides(self, call: int) -> None:
        """A step begins when all sides have made the calls of the steps before."""
        whole = all(made == self.num_calls for made in self._calls.values())
        if call != self.num_calls - 1 and not (call == self.num_calls and whole):
            raise ProfileError(
                f"call {self.num_calls}: found guidance that is not computed in every step, which cannot be profiled"
            )


def _put(kept: list[torch.Tensor], call: int, rows: torch.Tensor) -> None:
    """Keep what a call gave; a further side of the guidance adds its rows to those of the call."""
    if call < len(kept):
        kept[call] = torch.cat([kept[call], rows])
    else:
        kept.append(rows)


@contextmanager
def record(
    pipeline: Any,
    cuts: Sequence[int] | None = None,
    *,
    projection: ProjectionInfo | None = None,
    max_distance: int = 0,
) -> Iterator[Recording]:
    """Record the features of one run of `pipeline` inside the `with` block.

    The denoiser computes what it computes without, and is as it was afterwards, also after an exception. Nothing is
    copied to the host, and the device is not waited for.

    Args:
        pipeline: a diffusers pipeline, or a bare denoiser.
        cuts: which cuts; all if None.
        projection: keep projections of the features rather than the features.
        max_distance: measure the output errors of reusing features up to this many calls old; 0 for none.

    Raises:
        ProfileError: an unknown cut, or a feature whose shape changes during the run.
        UnsupportedModelError: the denoiser is of no known family.
    """
    recording = Recording(pipeline, cuts, projection=projection, max_distance=max_distance)
    with answering(pipeline, recording):
        yield recording
