"""How alike features are: all pairs of calls at once, on the device that holds them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

__all__ = ["Pairs", "compare"]

WORK_BYTES = 2**26


@dataclass(frozen=True)
class Pairs:
    """Comparisons of call i with call j; each tensor is (rows, T, T), [row, i, j].

    Attributes:
        cosine: `f_i · f_j / (|f_i| |f_j|)`.
        relative_l2: `|f_i - f_j| / |f_j|`, Euclidean.
        relative_l1: the same with sums of absolute values; None where it was not asked for.
        norms: |f_i|, (rows, T): not finite where a feature is not.
    """

    cosine: torch.Tensor
    relative_l2: torch.Tensor
    relative_l1: torch.Tensor | None
    norms: torch.Tensor


def compare(
    features: Sequence[torch.Tensor],
    *,
    norms: torch.Tensor | None = None,
    l1: bool = True,
    work_bytes: int = WORK_BYTES,
) -> Pairs:
    """Compare the features of all T calls with each other.

    Cosine and L2 come from one Gram matrix, summed in float64 over chunks of the features (float32 on a device that
    has no float64), whatever the type of the features. L1 is summed over chunks too, in float32 within each.

    Args:
        features: one tensor per call, (rows, ...), all alike.
        norms: (rows, T), where `features` are projections and the lengths of the features themselves are known.
        l1: whether to compute relative L1 distances.
        work_bytes: about how much memory to take at a time.
    """
    rows, calls = len(features[0]), len(features)
    device = features[0].device
    exact = torch.float32 if device.type == "mps" else torch.float64
    gram = torch.zeros(rows, calls, calls, dtype=exact, device=device)
    absolute, sums = torch.zeros_like(gram), torch.zeros(rows, calls, dtype=exact, device=device)
    for chunk in _chunks(features, max(1, work_bytes // (24 * rows * calls))):
        wide = chunk.to(exact)
        gram.baddbmm_(wide, wide.mT)
        if l1:
            single = chunk.float()
            absolute += torch.cdist(single, single, p=1.0)
            sums += wide.abs().sum(-1)
    squares = gram.diagonal(dim1=1, dim2=2)
    distances = (squares[:, :, None] + squares[:, None, :] - 2 * gram).clamp_min(0)
    distances.diagonal(dim1=1, dim2=2).zero_()
    lengths = squares.sqrt() if norms is None else norms.to(exact)
    products = lengths[:, :, None] * lengths[:, None, :]
    cosine = (lengths[:, :, None] ** 2 + lengths[:, None, :] ** 2 - distances) / (2 * products)
    return Pairs(
        cosine=cosine.clamp(-1, 1),
        relative_l2=distances.sqrt() / lengths[:, None, :],
        relative_l1=absolute / sums[:, None, :] if l1 else None,
        norms=lengths,
    )


def _chunks(features: Sequence[torch.Tensor], width: int) -> Iterator[torch.Tensor]:
    """The features as (rows, T, up to `width`) tensors, one part after the other."""
    if all(feature.ndim == 4 and feature.is_contiguous(memory_format=torch.channels_last) for feature in features):
        features = [feature.permute(0, 2, 3, 1) for feature in features]  # the order of values does not matter
    flat = [feature.flatten(1) for feature in features]
    for start in range(0, flat[0].shape[1], width):
        yield torch.stack([feature[:, start : start + width] for feature in flat], dim=1)
