"""Recording the features of a run, on the device that makes them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from deepcadence.probe._called import answering, argument_names, by_row, output_tensor, timestep_numbers, timestep_of
from deepcadence.probe._cuts import chosen_cuts
from deepcadence.probe.errors import ProfileError
from deepcadence.probe.output_error import OutputErrors
from deepcadence.probe.projection import Projection, ProjectionInfo
from deepcadence.schedules import denoiser
from deepcadence.schedules.families import family_of

__all__ = ["Recording", "record"]


class Recording:
    """What a run's calls left behind.

    Attributes:
        features: for each cut, one tensor per call: the feature, (rows, channels, height, width), for a video (rows,
            frames, channels, height, width), or its projection, float32 (rows, dimensions).
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
        self._names = argument_names(model)
        self._projection = projection
        self._projections: dict[int, Projection] = {}
        self._recent: dict[int, deque[torch.Tensor]] = {cut: deque(maxlen=max_distance) for cut in self.cuts}
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
        output, features = self._views.full(*args, **kwargs)
        tried = self.errors.measure(self.num_calls, output, self._recent, args, kwargs) if self.errors else 0
        for cut in self.cuts:
            feature = features[cut].detach()
            self._keep(cut, by_row(feature, len(output_tensor(output))))
            self._recent[cut].append(feature)
        named = {**dict(zip(self._names, args, strict=False)), **kwargs}
        self.timesteps.append(timestep_of(named))
        if self.on_call is not None:
            self.on_call(1 + tried)
        return output

    def _keep(self, cut: int, feature: torch.Tensor) -> None:
        self._check_shape(cut, feature)
        if self._projection is None:
            self.features[cut].append(feature)
        else:
            if cut not in self._projections:
                size = feature[0].numel()
                chosen = self._projection
                self._projections[cut] = Projection(size, chosen.dimensions, chosen.seed + cut, feature.device)
            self.features[cut].append(self._projections[cut](feature))
            self.norms[cut].append(torch.linalg.vector_norm(feature.flatten(1), dim=1, dtype=torch.float32))

    def _check_shape(self, cut: int, feature: torch.Tensor) -> None:
        first = self.features[cut][0] if self.features[cut] else feature
        found, expected = feature.shape, first.shape
        if self._projection is not None:
            found, expected = found[:1], expected[:1]
        if found != expected:
            raise ProfileError(
                f"cut {cut}, call {self.num_calls}: found a feature of shape {list(found)}, expected {list(expected)} "
                "as in call 0; a run whose batch or size changes cannot be profiled"
            )


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
