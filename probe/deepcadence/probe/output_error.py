"""What reuse does to the denoiser's output: partial calls with older features, next to the full call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from deepcadence.probe._called import output_tensor
from deepcadence.probe.errors import ProfileError
from deepcadence.schedules.families import Views
from deepcadence.schedules.families.inputs import by_name

__all__ = ["MAX_ROWS", "SHARED", "OutputErrors", "arguments_repeated", "batch_first", "repeated"]

# Rows of one partial call: older features are tried side by side, as one batch.
MAX_ROWS = 16
# Arguments whose tensors have the batch first. With any other, features are tried one by one.
_BATCHED = frozenset(
    (
        "sample",
        "hidden_states",
        "timestep",
        "encoder_hidden_states",
        "class_labels",
        "timestep_cond",
        "attention_mask",
        "encoder_attention_mask",
        "added_cond_kwargs",
        "pooled_projections",
        "guidance",
        "added_time_ids",
        "return_dict",
        *("x", "timesteps", "context", "y"),  # of the models of CompVis
    )
)
SHARED = frozenset(("img_ids", "txt_ids"))
"""Arguments that are the same for the whole batch."""


class OutputErrors:
    """Collects |partial - full| / |full|, Euclidean, per row, for features up to `max_distance` calls old."""

    def __init__(self, views: Views, cuts: Sequence[int], names: Sequence[str], max_distance: int) -> None:
        self._views, self._cuts, self._names, self._reach = views, cuts, names, max_distance
        self._found: list[tuple[int, int, int, int, torch.Tensor]] = []  # cut, row, first i, j, (number of i, rows)

    @torch.no_grad()
    def measure(
        self,
        call: int,
        output: Any,
        older: Mapping[int, Sequence[torch.Tensor]],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        first_row: int = 0,
    ) -> int:
        """Try the features before call `call`, of which `older` holds the last ones, on that call's arguments.

        `first_row` is the row that the first of the batch has in the matrices.

        Returns how many were tried.
        """
        named = by_name(self._names, args, kwargs)
        full = output_tensor(output)
        tried = 0
        for cut in self._cuts:
            features = list(older[cut])[-self._reach :]
            first, step = call - len(features), self._side_by_side(named, len(full))
            for start in range(0, len(features), step):
                some = features[start : start + step]
                self._found.append((cut, first_row, first + start, call, self._try(cut, some, full, named)))
            tried += len(features)
        return tried

    def matrices(self, rows: int, calls: int) -> dict[int, torch.Tensor]:
        """The errors as (rows, calls, calls) float64 on the CPU, [row, i, j]; nan where none was measured.

        Raises:
            ProfileError: an output is not finite, or is zero everywhere.
        """
        nothing = float("nan")
        result = {cut: torch.full((rows, calls, calls), nothing, dtype=torch.float64) for cut in self._cuts}
        for cut, row, first, call, errors in self._found:
            if not errors.isfinite().all():
                raise ProfileError(
                    f"cut {cut}, call {call}: found an output that is not finite or is zero everywhere, so a relative "
                    "error means nothing"
                )
            tried, wide = errors.shape
            result[cut][row : row + wide, first : first + tried, call] = errors.cpu().double().T
        return result

    def _try(
        self, cut: int, features: Sequence[torch.Tensor], full: torch.Tensor, named: Mapping[str, Any]
    ) -> torch.Tensor:
        times, rows = len(features), len(full)
        inputs = arguments_repeated(named, rows, times)
        found = output_tensor(self._views.partial(cut, torch.cat(list(features)), **inputs))
        wide = full.float().flatten(1)
        difference = found.float().reshape(times, rows, -1) - wide
        errors: torch.Tensor = torch.linalg.vector_norm(difference, dim=-1) / torch.linalg.vector_norm(wide, dim=-1)
        return errors

    def _side_by_side(self, named: Mapping[str, Any], rows: int) -> int:
        return max(1, MAX_ROWS // rows) if batch_first(named) else 1


def batch_first(named: Mapping[str, Any]) -> bool:
    """Whether every tensor among a call's arguments is known to have the batch first, or to be shared by all of it."""
    return all(key in _BATCHED | SHARED or value is None for key, value in named.items())


def arguments_repeated(named: Mapping[str, Any], rows: int, times: int) -> dict[str, Any]:
    """A call's arguments for a batch `times` as large, see `repeated`."""
    return {key: value if key in SHARED else repeated(value, rows, times) for key, value in named.items()}


def repeated(value: Any, rows: int, times: int) -> Any:
    """`value` with each tensor that has `rows` rows, or as many for each of them, repeated `times` times along them.

    The rest is as it is.
    """
    if times == 1:
        return value
    if isinstance(value, torch.Tensor):
        whole = value.ndim > 0 and len(value) % rows == 0
        return value.repeat(times, *[1] * (value.ndim - 1)) if whole else value
    if isinstance(value, Mapping):
        return {key: repeated(entry, rows, times) for key, entry in value.items()}
    if isinstance(value, list):  # the images of IP-Adapters
        return [repeated(entry, rows, times) for entry in value]
    return value
