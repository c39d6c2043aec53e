"""A small U-Net with the structure of CompVis's latent diffusion: `input_blocks`, `middle_block`, `output_blocks`."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from tests import tiny


class Residual(nn.Module):
    def __init__(self, channels: int, width: int, out: int) -> None:
        super().__init__()
        self.norm, self.conv = nn.GroupNorm(4, channels), nn.Conv2d(channels, out, 3, padding=1)
        self.emb, self.skip = nn.Linear(width, out), nn.Conv2d(channels, out, 1)

    def forward(self, h: torch.Tensor, emb: torch.Tensor) -> torch.Tensor:
        changed: torch.Tensor = self.conv(F.silu(self.norm(h))) + self.emb(F.silu(emb))[:, :, None, None]
        shortcut: torch.Tensor = self.skip(h)
        return shortcut + changed


class Attention(nn.Module):
    def __init__(self, channels: int, context: int) -> None:
        super().__init__()
        self.to_q, self.to_k = nn.Linear(channels, channels), nn.Linear(context, channels)
        self.to_v = nn.Linear(context, channels)

    def forward(self, h: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        return F.scaled_dot_product_attention(self.to_q(h), self.to_k(context), self.to_v(context))


class Transformer(nn.Module):
    def __init__(self, channels: int, context: int) -> None:
        super().__init__()
        self.attn2 = Attention(channels, context)

    def forward(self, h: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        rows = h.flatten(2).mT
        found: torch.Tensor = self.attn2(rows, context).mT
        return h + found.reshape(h.shape)


class Down(nn.Conv2d):
    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, stride=2, padding=1)


class Up(nn.Conv2d):
    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, padding=1)

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        return super().forward(F.interpolate(h, scale_factor=2))


class Block(nn.Sequential):
    """Gives each layer what it takes."""

    def forward(  # type: ignore[override]
        self, h: torch.Tensor, emb: torch.Tensor, context: torch.Tensor | None = None
    ) -> torch.Tensor:
        for layer in self:
            if isinstance(layer, Residual):
                h = layer(h, emb)
            elif isinstance(layer, Transformer):
                h = layer(h, context)
            else:
                h = layer(h)
        return h


class UNetModel(nn.Module):
    """Two levels of two residual layers each: 6 input blocks, 6 output blocks."""

    def __init__(self, context: int | None = None, labels: nn.Module | None = None) -> None:
        super().__init__()
        self.image_size, self.channel_mult, self.model_channels = 8, (1, 2), 16
        self.num_classes = None if labels is None else "some"
        width, narrow, wide = 64, 16, 32
        self.time_embed = nn.Sequential(nn.Linear(16, width), nn.SiLU(), nn.Linear(width, width))
        if labels is not None:
            self.label_emb = labels

        def layer(channels: int, out: int) -> list[nn.Module]:
            return [Residual(channels, width, out), *([] if context is None else [Transformer(out, context)])]

        self.input_blocks = nn.ModuleList([Block(nn.Conv2d(4, narrow, 3, padding=1))])
        self.input_blocks += [Block(*layer(narrow, narrow)), Block(*layer(narrow, narrow)), Block(Down(narrow))]
        self.input_blocks += [Block(*layer(narrow, wide)), Block(*layer(wide, wide))]
        self.middle_block = Block(*layer(wide, wide), Residual(wide, width, wide))
        self.output_blocks = nn.ModuleList([Block(*layer(2 * wide, wide)), Block(*layer(2 * wide, wide))])
        self.output_blocks += [Block(*layer(wide + narrow, wide), Up(wide)), Block(*layer(wide + narrow, narrow))]
        self.output_blocks += [Block(*layer(2 * narrow, narrow)), Block(*layer(2 * narrow, narrow))]
        self.out = nn.Sequential(nn.GroupNorm(4, narrow), nn.SiLU(), nn.Conv2d(narrow, 4, 3, padding=1))

    def forward(self, x: Any, timesteps: Any = None, context: Any = None, y: Any = None, **kwargs: Any) -> torch.Tensor:
        angles = timesteps[:, None] * torch.exp(-torch.arange(8, device=x.device))
        emb = self.time_embed(torch.cat([angles.cos(), angles.sin()], dim=1).to(x.dtype))
        if self.num_classes is not None:
            emb = emb + self.label_emb(y)
        hs, h = [], x
        for block in self.input_blocks:
            h = block(h, emb, context)
            hs.append(h)
        h = self.middle_block(h, emb, context)
        for block in self.output_blocks:
            h = torch.cat([h, hs.pop()], dim=1)
            h = block(h, emb, context)
        answer: torch.Tensor = self.out(h)
        return answer


class ControlledUNetModel(UNetModel):
    """Takes the residuals of a ControlNet, as its authors' model does."""

    def forward(  # type: ignore[override]
        self, x: Any, timesteps: Any = None, context: Any = None, control: Any = None, **kwargs: Any
    ) -> torch.Tensor:
        raise NotImplementedError


def unet(kind: str = "plain") -> UNetModel:
    """A model with random weights: "plain", "text" (cross attention), "classes" or "vectors" (labels)."""
    with tiny.seeded(0):
        labels = {"classes": nn.Embedding(4, 64), "vectors": nn.Sequential(nn.Linear(5, 64))}.get(kind)
        model = UNetModel(context=tiny.CONTEXT if kind == "text" else None, labels=labels)
    return model.eval()
