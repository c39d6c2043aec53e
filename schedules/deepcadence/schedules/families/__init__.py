"""Families of denoisers, in the order in which they are asked."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from deepcadence.schedules.errors import UnsupportedModelError
from deepcadence.schedules.families.base import Family, Views
from deepcadence.schedules.families.compvis import CompVisFamily
from deepcadence.schedules.families.shallow import shallow
from deepcadence.schedules.families.stand_ins import Kept, Stored
from deepcadence.schedules.families.third_party import third_party_families
from deepcadence.schedules.families.transformer import TransformerFamily
from deepcadence.schedules.families.unet import UNetFamily

FAMILIES: tuple[Family, ...] = (UNetFamily(), CompVisFamily(), TransformerFamily())

__all__ = ["FAMILIES", "Family", "Kept", "Stored", "Views", "family_of", "register_family", "shallow"]

_registered: dict[str, Family] = {}


def register_family(family: Family) -> None:
    """Serve the models of `family` in this process: in a notebook, say, where there is no package to bring it.

    It is asked after the families that come with deepcadence and before those of other packages, and takes the place
    of one of the same name that was registered before.

    Raises:
        UnsupportedModelError: `family` is not an instance of `Family`.
    """
    if not isinstance(family, Family):
        raise UnsupportedModelError(f"found {family!r}, expected an instance of {Family.__module__}.Family")
    _registered[family.name] = family


def family_of(model: nn.Module) -> Family:
    """The first family that can serve `model`; registered ones are asked later, those of other packages last.

    Raises:
        UnsupportedModelError: none can; the message has each family's reason.
    """
    reasons = []
    for family in _families():
        reason = family.refusal(model)
        if reason is None:
            return family
        reasons.append(f"{family.name}: {reason}")
    raise UnsupportedModelError(f"{type(model).__name__} cannot be cached. {'; '.join(reasons)}")


def _families() -> Iterator[Family]:
    yield from FAMILIES
    yield from _registered.values()
    yield from third_party_families()
