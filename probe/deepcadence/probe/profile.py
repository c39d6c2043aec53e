"""A profile: what one probing run measured."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import Self

import torch

from deepcadence.probe._profile_file import read_profile, write_profile
from deepcadence.probe.errors import ProfileError
from deepcadence.probe.info import ProfileInfo

__all__ = ["Profile"]


@dataclass(frozen=True, eq=False, repr=False)
class Profile:
    """Similarity and error per cut, for all pairs of calls, averaged over samples.

    Every tensor is float32, (cuts, T, T); entry [c, i, j] compares call i with call j at the cut `cuts[c]`. Those that
    end in `_std` are standard deviations over samples, nan if there was one sample only.

    Attributes:
        cosine: cosine similarity of the features.
        relative_l2: |f_i - f_j| / |f_j|, Euclidean.
        relative_l1: the same with sums of absolute values; nan where features were projected, which keeps no L1.
        output_error: for i < j, |partial - full| / |full| of the denoiser's output at call j, when the feature of
            call i is reused; nan where it was not measured.
        meta: where the profile came from.
    """

    cosine: torch.Tensor
    cosine_std: torch.Tensor
    relative_l2: torch.Tensor
    relative_l2_std: torch.Tensor
    relative_l1: torch.Tensor
    relative_l1_std: torch.Tensor
    output_error: torch.Tensor
    output_error_std: torch.Tensor
    meta: ProfileInfo

    def __repr__(self) -> str:
        meta = self.meta
        return (
            f"<Profile of {meta.model.class_name}: cuts {', '.join(map(str, self.cuts))}; {self.num_calls} calls, "
            f"{len(meta.seeds)} samples, {meta.created.by}>"
        )

    @property
    def cuts(self) -> tuple[int, ...]:
        """The cuts, in the order of the matrices."""
        return self.meta.cuts

    @property
    def num_calls(self) -> int:
        """Calls of a run (T)."""
        return self.meta.num_calls

    def index(self, cut: int) -> int:
        """Where `cut` is in the matrices.

        Raises:
            ProfileError: it was not profiled.
        """
        if cut not in self.cuts:
            raise ProfileError(f"cut: found {cut}, expected one of the profiled cuts {list(self.cuts)}")
        return self.cuts.index(cut)

    def save(self, path: str | PathLike[str]) -> None:
        """Write a `.safetensors` file, whole or not at all, with `meta` as JSON in its header.

        Raises:
            ProfileError: the matrices do not have the shape that `meta` says, or values that they cannot have.
        """
        write_profile(path, {name: getattr(self, name) for name in _MATRICES}, self.meta)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Read what `save` wrote.

        Raises:
            ProfileError: there is no such file, or it is not a sound profile; says where in it, what was found and
                what was expected.
        """
        tensors, meta = read_profile(path)
        return cls(**tensors, meta=meta)


_MATRICES = tuple(name for name in Profile.__dataclass_fields__ if name != "meta")
