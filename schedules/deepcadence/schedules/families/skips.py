"""The skip connections of a U-Net: where each is made, where it is consumed, and blocks with some layers only.

Skips are numbered from the outside: 0 is the output of `conv_in`, then one for each down layer
and each downsampler. The up layers consume them from the last to the first.
"""

from __future__ import annotations

from typing import NamedTuple, cast

from torch import nn

from deepcadence.schedules.families.shallow import refuse_hooks, shallow


class Position(NamedTuple):
    """A layer of the down or up path: index of its block, index in the block."""

    block: int
    layer: int


def layers_of(block: nn.Module) -> int:
    """How many layers a block has; each consumes or makes one skip."""
    return len(cast(nn.ModuleList, block.resnets))


def blocks_of(model: nn.Module, path: str) -> list[nn.Module]:
    """The blocks in the module list `path`."""
    return list(cast(nn.ModuleList, getattr(model, path)))


def skip_sources(model: nn.Module) -> list[Position]:
    """Where each skip is made; a downsampler counts as the layer behind the last, `conv_in` as (-1, 0)."""
    sources = [Position(-1, 0)]
    for index, block in enumerate(blocks_of(model, "down_blocks")):
        outputs = layers_of(block) + len(getattr(block, "downsamplers", None) or ())
        sources += [Position(index, layer) for layer in range(outputs)]
    return sources


def skip_consumers(model: nn.Module) -> list[Position]:
    """The up layer that consumes each skip, from skip 0 on."""
    layers = [
        Position(index, layer)
        for index, block in enumerate(blocks_of(model, "up_blocks"))
        for layer in range(layers_of(block))
    ]
    return layers[::-1]


def segment(block: nn.Module, start: int, stop: int, *, ends: bool, name: str) -> nn.Module:
    """Layers `start` to `stop` of a block; `ends` keeps its down- or upsamplers.

    Every list with an entry per layer is cut alike: resnets, attentions, and what layers over time there are.
    """
    if start == 0 and stop == layers_of(block) and ends:
        return block
    refuse_hooks(block, name)
    replaced: dict[str, nn.Module | None] = {}
    for child, module in block._modules.items():
        if child in ("downsamplers", "upsamplers"):
            if not ends:
                replaced[child] = None
        elif isinstance(module, nn.ModuleList) and len(module) == layers_of(block):
            replaced[child] = nn.ModuleList(list(module)[start:stop])
    return shallow(block, **replaced)
