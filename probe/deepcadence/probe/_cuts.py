"""Which cuts were asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from deepcadence.probe.errors import ProfileError

__all__ = ["chosen_cuts"]


def chosen_cuts(known: Mapping[int, str], cuts: Iterable[int] | None) -> tuple[int, ...]:
    """`cuts`, sorted and each once; all `known` ones for None.

    Raises:
        ProfileError: there are none, or one that the model lacks.
    """
    chosen = tuple(sorted(known if cuts is None else set(cuts)))
    if not chosen or any(cut not in known for cut in chosen):
        raise ProfileError(f"cuts: found {list(chosen)}, expected some of 0 to {max(known)}")
    return chosen
