"""Families of denoisers, in the order in which they are asked."""

from __future__ import annotations

from torch import nn

from deepcadence.schedules.errors import UnsupportedModelError
from deepcadence.schedules.families.base import Family, Views
from deepcadence.schedules.families.transformer import TransformerFamily
from deepcadence.schedules.families.unet import UNetFamily

FAMILIES: tuple[Family, ...] = (UNetFamily(), TransformerFamily())

__all__ = ["FAMILIES", "Family", "Views", "family_of"]


def family_of(model: nn.Module) -> Family:
    """The first family that can serve `model`.

    Raises:
        UnsupportedModelError: none can; the message has each family's reason.
    """
    reasons = []
    for family in FAMILIES:
        reason = family.refusal(model)
        if reason is None:
            return family
        reasons.append(f"{family.name}: {reason}")
    raise UnsupportedModelError(f"{type(model).__name__} cannot be cached. {'; '.join(reasons)}")
