"""Errors that reuse makes in the denoiser's output, as vectors: partial calls with older features, in every call."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch

from deepcadence.probe._called import output_tensor
from deepcadence.probe._cuts import chosen_cuts
from deepcadence.probe._rows import by_sample
from deepcadence.probe.output_error import MAX_ROWS, arguments_repeated, batch_first
from deepcadence.probe.projection import Projection
from deepcadence.schedules import denoiser
from deepcadence.schedules.families import family_of
from deepcadence.schedules.families.inputs import by_name, parameter_names

__all__ = ["ReuseErrors"]


class ReuseErrors:
    """Answers the calls of one full run, and tries at each call the features of calls some ages ago.

    Args:
        pipeline: whose denoiser it answers for.
        cuts: at which to try.
        ages: in calls, ascending; features as old as the last are held.
        samples: rows of one branch of the denoiser's batch.
        kept: the calls of which one error is kept whole, that of the middle cut and middle age.
        dimensions: to which errors are projected.

    Attributes:
        errors: per call, (cuts, ages, samples, dimensions), float32 on the CPU; zero where no feature was that old.
        whole: of each call in `kept` one error, (samples, size); size is that of the output of all branches.
        outputs: of each call, (branches * samples, ...).
        template: what a call returned: a tensor, a tuple, or an output object of diffusers.
        told: called after each call with the rows evaluated, full ones and, by cut, partial ones.
    """

    def __init__(
        self,
        pipeline: Any,
        cuts: Iterable[int],
        ages: Sequence[int],
        samples: int,
        kept: Iterable[int],
        dimensions: int,
    ) -> None:
        model = denoiser(pipeline)
        family = family_of(model)
        self.cuts = chosen_cuts(family.cuts(model), cuts)
        self._views, self._names = family.views(model, self.cuts), parameter_names(model)
        self._ages, self._samples, self._kept, self._dimensions = tuple(ages), samples, frozenset(kept), dimensions
        self._recent: dict[int, deque[torch.Tensor]] = {cut: deque(maxlen=max(ages)) for cut in self.cuts}
        self._projection: Projection | None = None
        self.errors: list[torch.Tensor] = []
        self.whole: dict[int, torch.Tensor] = {}
        self.outputs: list[torch.Tensor] = []
        self.template: Any = None
        self.told: Callable[[int, Mapping[int, int]], None] | None = None

    @torch.no_grad()
    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Answer one call of the denoiser as the denoiser would."""
        output, features = self._views.full(*args, **kwargs)
        full = output_tensor(output)
        named = by_name(self._names, args, kwargs)
        old = [age for age in self._ages if age <= len(self.outputs)]
        self.errors.append(self._at(old, full, named))
        self.outputs.append(full)
        self.template = output
        for cut in self.cuts:
            self._recent[cut].append(features[cut])
        if self.told is not None:
            self.told(len(full), dict.fromkeys(self.cuts, len(old) * len(full)))
        return output

    def _at(self, ages: Sequence[int], full: torch.Tensor, named: dict[str, Any]) -> torch.Tensor:
        size = by_sample(full, self._samples).shape[1]
        if self._projection is None:
            self._projection = Projection(size, self._dimensions, 0, full.device)
        found = torch.zeros(len(self.cuts), len(self._ages), self._samples, self._projection.dimensions)
        for place, cut in enumerate(self.cuts):
            for number, error in enumerate(self._try(cut, ages, full, named)):
                found[place, number] = self._projection(error).cpu()
                if len(self.outputs) in self._kept and (place, number) == (len(self.cuts) // 2, len(ages) // 2):
                    self.whole[len(self.outputs)] = error
        return found

    def _try(self, cut: int, ages: Sequence[int], full: torch.Tensor, named: dict[str, Any]) -> list[torch.Tensor]:
        """Errors (samples, size) of partial calls with features of these ages, several side by side."""
        rows = len(full)
        step = max(1, MAX_ROWS // rows) if batch_first(named) else 1
        found: list[torch.Tensor] = []
        for start in range(0, len(ages), step):
            features = [self._recent[cut][-age] for age in ages[start : start + step]]
            inputs = arguments_repeated(named, rows, len(features))
            partial = output_tensor(self._views.partial(cut, torch.cat(features), **inputs))
            found += [by_sample(part.float() - full.float(), self._samples) for part in torch.split(partial, rows)]
        return found
