"""How a change of the denoiser's output at one call changes the final image: the rest of the run, computed again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from deepcadence.probe._called import answering, output_tensor
from deepcadence.probe._rows import rows_of, to_rows, with_tensor
from deepcadence.probe.errors import ProfileError
from deepcadence.probe.output_error import SHARED, batch_first
from deepcadence.probe.workload import Workload, to_images
from deepcadence.schedules import denoiser
from deepcadence.schedules.families.inputs import by_name, parameter_names

__all__ = ["Push", "responses"]

Push = tuple[int, int, torch.Tensor]
"""Call, sample (an index into the seeds), and what to add to the output there, (size of the output of all branches)."""


def responses(
    workload: Workload,
    outputs: Sequence[torch.Tensor],
    template: Any,
    pushes: Sequence[Push],
    told: Callable[[int], None],
) -> torch.Tensor:
    """The final images of runs that are pushed once and then go on as the sampler and the full network take them.

    Until its push a run is replayed from `outputs` at no cost. Runs are batched, `workload.batch_size` at a time, those
    pushed at neighbouring calls together.

    Args:
        workload: its seeds are the samples.
        outputs: of each call of the unpushed run, (branches * samples, ...).
        template: what one of these calls returned, which says in what form the pipeline wants an output.
        pushes: what to do.
        told: told the rows that each call evaluated.

    Returns:
        (pushes, channels, height, width), from 0 to 1, float32 on the CPU.
    """
    order = sorted(range(len(pushes)), key=lambda number: pushes[number][0])
    images: dict[int, torch.Tensor] = {}
    for numbers in _groups(order, workload.batch_size):
        some = [pushes[number] for number in numbers]
        seeds = [workload.seeds[sample] for _, sample, _ in some]
        pushed = _Pushed(workload.pipeline, outputs, template, len(workload.seeds), some, told)
        with answering(workload.pipeline, pushed) as forward:
            pushed.forward = forward
            found = to_images(workload.call(seeds), workload.pipeline, seeds)
        pushed.check()
        images |= dict(zip(numbers, found, strict=True))
    return torch.stack([images[number] for number in range(len(pushes))])


def _groups(order: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(order), size):
        yield order[start : start + size]


class _Pushed:
    """Answers the calls of one batch of pushed runs."""

    def __init__(
        self,
        pipeline: Any,
        outputs: Sequence[torch.Tensor],
        template: Any,
        samples: int,
        pushes: Sequence[Push],
        told: Callable[[int], None],
    ) -> None:
        self._names = parameter_names(denoiser(pipeline))
        self._outputs, self._template, self._samples = outputs, template, samples
        self._pushes, self._told = pushes, told
        self._of = torch.tensor([sample for _, sample, _ in pushes])
        self.forward: Any = None
        self._call = 0

    @torch.no_grad()
    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        named = by_name(self._names, args, kwargs)
        call, self._call = self._call, self._call + 1
        known = self._outputs[call]
        rows = known.reshape(-1, self._samples, *known.shape[1:])[:, self._of.to(known.device)].flatten(0, 1)
        rows = self._pushed(call, rows.clone())
        self._go_on(call, rows, named)
        return with_tensor(self._template, rows)

    def _pushed(self, call: int, rows: torch.Tensor) -> torch.Tensor:
        """The outputs as they were, but for the runs that are pushed at this call."""
        by_run = rows.reshape(-1, len(self._pushes), *rows.shape[1:])  # shares memory
        for run, (at, _, change) in enumerate(self._pushes):
            if at == call:
                by_run[:, run] += to_rows(change[None], by_run[:, run]).to(rows.dtype)
        return rows

    def _go_on(self, call: int, rows: torch.Tensor, named: dict[str, Any]) -> None:
        """Evaluate the network for the runs that were pushed before."""
        count = len(self._pushes)
        active = torch.tensor([run for run, (at, _, _) in enumerate(self._pushes) if at < call], dtype=torch.long)
        if not len(active):
            return
        index = torch.cat([active + branch * count for branch in range(len(rows) // count)])
        if batch_first(named):
            some = {key: v if key in SHARED else rows_of(v, len(rows), index) for key, v in named.items()}
            found = output_tensor(self.forward(**some))
        else:
            found = output_tensor(self.forward(**named))[index.to(rows.device)]
        rows[index.to(rows.device)] = found
        self._told(len(index))

    def check(self) -> None:
        """Raise `ProfileError` if the runs made other calls than the one that they were to repeat."""
        if self._call != len(self._outputs):
            raise ProfileError(f"found a run of {self._call} calls, expected {len(self._outputs)}, as before")
