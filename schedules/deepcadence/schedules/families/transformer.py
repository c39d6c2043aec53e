"""Transformers of diffusers: DiT, PixArt, Stable Diffusion 3, Flux, Sana, Wan and what is built like them.

A partial call runs the first blocks and the last ones, and adds what the blocks between them added at the last full
call. It runs 2 blocks at cut 0, then 3, 4, 6, 8, 12, 16, 24, ...: steps of a third to a half, so that a deep model has
about as many cuts as a U-Net. The first block and the last one always run: the first sees how far the input has
moved, the last gives the output its final form. Of an odd number the first part gets one more.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import count, islice
from typing import Any, cast

import torch
from torch import nn

from deepcadence.schedules.errors import UnsupportedModelError
from deepcadence.schedules.families.base import Family
from deepcadence.schedules.families.inputs import parameter_names
from deepcadence.schedules.families.residual import Range, ResidualViews
from deepcadence.schedules.families.residual_midway import ResidualMidway
from deepcadence.schedules.families.transformer_inputs import example_inputs, patch_sides

_PATHS = ("transformer_blocks", "single_transformer_blocks", "blocks")
# Arguments and layers whose part in a forward is known. With any other, a block may do more than add to its input.
_ARGUMENTS = {
    *("hidden_states", "timestep", "class_labels", "encoder_hidden_states", "encoder_hidden_states_image"),
    *("pooled_projections", "added_cond_kwargs", "attention_mask", "encoder_attention_mask", "img_ids", "txt_ids"),
    *("guidance", "skip_layers", "cross_attention_kwargs", "joint_attention_kwargs", "attention_kwargs"),
    *("block_controlnet_hidden_states", "controlnet_block_samples", "controlnet_single_block_samples"),
    *("controlnet_blocks_repeat", "return_dict"),
}
_LAYERS = {
    *("pos_embed", "patch_embed", "patch_embedding", "x_embedder", "rope", "context_embedder", "time_text_embed"),
    *("time_embed", "adaln_single", "condition_embedder", "caption_projection", "caption_norm", "image_proj"),
    *("encoder_hid_proj", "norm_out", "proj_out", "proj_out_1", "proj_out_2"),
}


def block_lists(model: nn.Module) -> dict[str, nn.ModuleList]:
    """The model's lists of blocks, in the order in which its forward runs them."""
    found = {path: getattr(model, path, None) for path in _PATHS}
    return {path: blocks for path, blocks in found.items() if isinstance(blocks, nn.ModuleList)}


def _blocks(model: nn.Module) -> dict[str, nn.Module]:
    """All blocks, by dotted name."""
    return {
        f"{path}.{index}": block for path, blocks in block_lists(model).items() for index, block in enumerate(blocks)
    }


def _paired(model: nn.Module) -> bool:
    """Whether text runs through the blocks beside the image: then blocks have a norm of its own for it."""
    return hasattr(next(iter(_blocks(model).values())), "norm1_context")


def _runs(blocks: int) -> Iterator[int]:
    """How many blocks a partial call runs, for each cut."""
    for power in count(1):
        for run in (2**power, 3 * 2 ** (power - 1)):
            if run >= blocks:
                return
            yield run


def ranges(blocks: int) -> list[Range]:
    """The blocks that a partial call leaves out, for each cut of a model of so many blocks."""
    return [Range((run + 1) // 2, blocks - run // 2) for run in _runs(blocks)]


def blocks_outside(cut: int) -> tuple[int, int]:
    """How many blocks a partial call at `cut` runs: the first ones, and the last ones."""
    run = next(islice(_runs(2 ** (cut // 2 + 2)), cut, None))
    return (run + 1) // 2, run // 2


class TransformerFamily(Family):
    """Transformers whose blocks each add to one stream of tokens, or to two."""

    name = "transformer"
    exact = False

    def refusal(self, model: nn.Module) -> str | None:
        """See `Family.refusal`."""
        names, lists = parameter_names(model), block_lists(model)
        if not lists or names[:1] != ("hidden_states",) or "timestep" not in names:
            return "it has no blocks between forward(hidden_states, ..., timestep, ...) and its output"
        unknown = [name for name in names if name not in _ARGUMENTS]
        if unknown:
            return f"its forward takes {', '.join(unknown)}, of which nothing is known"
        unknown = [name for name, module in model.named_children() if name not in _LAYERS and name not in lists]
        if unknown:
            return f"it has {', '.join(unknown)}, of which nothing is known"
        if not hasattr(model, "config") or not hasattr(model, "dtype"):
            return "it has no config as models of diffusers have"
        if len(_blocks(model)) < 3:
            return f"it has {len(_blocks(model))} blocks, and the first and the last one always run"
        if _paired(model) and "joint_attention_kwargs" not in names:
            return "text runs through its blocks beside the image, and in which order they return the two is not known"
        return _enabled_cache(model)

    def cuts(self, model: nn.Module) -> dict[int, str]:
        """See `Family.cuts`: here the first and the last block that a partial call leaves out."""
        names = list(_blocks(model))
        return {cut: f"{names[start]} to {names[stop - 1]}" for cut, (start, stop) in enumerate(ranges(len(names)))}

    def views(self, model: nn.Module, cuts: Iterable[int]) -> ResidualViews:
        """See `Family.views`."""
        return ResidualViews(model, block_lists(model), _ranges_of(model, cuts), paired=_paired(model))

    def midway(self, model: nn.Module, cuts: Iterable[int]) -> ResidualMidway:
        """See `Family.midway`."""
        return ResidualMidway(model, block_lists(model), _ranges_of(model, cuts), paired=_paired(model))

    def size_of(self, model: nn.Module, shape: Sequence[int]) -> tuple[int, ...]:
        """See `Family.size_of`: (tokens,) of packed latents."""
        return tuple(shape[:1] if len(shape) == 2 else shape[1:])

    def state(self, model: nn.Module) -> Hashable:
        """See `Family.state`: which submodules there are, gradient checkpointing, and a cache of diffusers' own."""
        return (
            tuple(map(id, model._modules.values())),
            tuple(id(block) for blocks in block_lists(model).values() for block in blocks),
            getattr(model, "gradient_checkpointing", False),
            id(getattr(model, "_cache_config", None)),
        )

    def small_size(self, model: nn.Module) -> tuple[int, ...]:
        """See `Family.small_size`: two patches along each side, one along time."""
        *time, height, width = patch_sides(model)
        return (*time, 2 * height, 2 * width)

    def small_inputs(
        self, model: nn.Module, *, device: torch.device | str | None, generator: torch.Generator
    ) -> dict[str, Any]:
        """See `Family.small_inputs`; few tokens of text as well."""
        return example_inputs(model, size=self.small_size(model), text=8, device=device, generator=generator)

    def example_inputs(
        self,
        model: nn.Module,
        *,
        batch: int = 1,
        size: tuple[int, ...] | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, Any]:
        """See `Family.example_inputs`."""
        return example_inputs(model, batch=batch, size=size, device=device, dtype=dtype, generator=generator)


def _ranges_of(model: nn.Module, cuts: Iterable[int]) -> dict[int, Range]:
    reason = _enabled_cache(model)
    if reason is not None:
        raise UnsupportedModelError(f"{type(model).__name__} cannot be cached: {reason}")
    known = ranges(len(_blocks(model)))
    return {cut: known[cut] for cut in cuts}


def _enabled_cache(model: nn.Module) -> str | None:
    enabled = cast(bool, getattr(model, "is_cache_enabled", False))
    return "a cache of diffusers is enabled on it; disable_cache() first" if enabled else None
