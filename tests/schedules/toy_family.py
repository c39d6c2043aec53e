"""Teaches deepcadence a denoiser of three layers, whose middle one is worth caching."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from deepcadence.schedules.families import Family, Kept, Stored, Views, shallow


class ToyDenoiser(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle, self.last = nn.Conv2d(3, 8, 3, 1, 1), nn.Conv2d(8, 8, 3, 1, 1), nn.Conv2d(16, 3, 1)

    def forward(self, x: torch.Tensor, timestep: torch.Tensor) -> Any:
        outer = self.first(x) + timestep.reshape(-1, 1, 1, 1) / 1000
        return self.last(torch.cat([self.middle(outer), outer], dim=1))


class ToyViews(Views):
    def __init__(self, model: nn.Module) -> None:
        self.kept, self.stored = Kept(model.get_submodule("middle")), Stored()
        self.whole, self.outside = shallow(model, middle=self.kept), shallow(model, middle=self.stored)

    def full(self, *args: Any, **kwargs: Any) -> Any:
        output = self.whole.forward(*args, **kwargs)
        feature, self.kept.feature = self.kept.feature, None  # views hold nothing between calls
        return output, {0: feature}

    def partial(self, cut: int, feature: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        self.stored.feature = feature
        output, self.stored.feature = self.outside.forward(*args, **kwargs), None
        return output


class ToyFamily(Family):
    name = "toy"

    def refusal(self, model: nn.Module) -> str | None:
        return None if hasattr(model, "middle") and hasattr(model, "last") else "it has no middle and last layer"

    def cuts(self, model: nn.Module) -> dict[int, str]:
        return {0: "last"}

    def views(self, model: nn.Module, cuts: Iterable[int]) -> Views:
        return ToyViews(model)

    def state(self, model: nn.Module) -> tuple[int, ...]:
        return tuple(map(id, model._modules.values()))  # another layer in place of one of these: make new views

    def small_size(self, model: nn.Module) -> tuple[int, int]:
        return 4, 4

    def example_inputs(self, model: nn.Module, *, batch: int = 1, size: Any = None, **wanted: Any) -> dict[str, Any]:
        x = torch.randn(batch, 3, *(size or (16, 16)), generator=wanted.get("generator"))
        device, dtype = wanted.get("device"), wanted.get("dtype")
        return {"x": x.to(device, dtype), "timestep": torch.full((batch,), 500, device=device)}
