"""Modules that stand in a view for a part of the model whose output is the feature."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn


class Kept(nn.Module):
    """Runs a module and keeps what it returned, a tensor, as `feature`."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.feature: torch.Tensor | None = None

    def forward(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        self.feature = cast(torch.Tensor, self.module(*args, **kwargs))
        return self.feature


class Stored(nn.Module):
    """Runs nothing: returns `feature`, whatever it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.feature: torch.Tensor | None = None

    def forward(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        return cast(torch.Tensor, self.feature)
