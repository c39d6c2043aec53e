"""Conditions of a denoiser: what is done to it, and what its calls bring along."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from accelerate import cpu_offload, cpu_offload_with_hook
from diffusers.hooks import apply_group_offloading, apply_layerwise_casting
from diffusers.loaders import PeftAdapterMixin
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from deepcadence.schedules.families import family_of
from deepcadence.schedules.families.inputs import parameter_names
from tests import tiny
from tests.schedules.conditions.cases import AbsentError, ModelCase
from tests.schedules.conditions.families import Column
from tests.schedules.test_families import inputs_of
from tests.schedules.test_transformers import load_flux_ip_adapter, load_sd3_ip_adapter

SCALED = ("cross_attention_kwargs", "joint_attention_kwargs", "attention_kwargs")


def inference_mode(column: Column) -> ModelCase:
    """Calls under `torch.inference_mode`."""
    case = ModelCase.of(column)
    case.around, case.changes = torch.inference_mode, False
    return case


@contextmanager
def _bfloat16() -> Iterator[None]:
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        yield


def autocast(column: Column) -> ModelCase:
    """Calls under `torch.autocast`, to bfloat16."""
    case = ModelCase.of(column)
    case.around = _bfloat16
    return case


def gradient_checkpointing(column: Column) -> ModelCase:
    """Gradient checkpointing on, and gradients too: blocks are called in another way."""
    case = ModelCase.of(column)
    if not getattr(case.model, "_supports_gradient_checkpointing", False):
        raise AbsentError
    case.model.enable_gradient_checkpointing()
    case.around, case.changes = torch.enable_grad, False
    return case


def channels_last(column: Column) -> ModelCase:
    """The model and its samples in `torch.channels_last`, or for videos in `torch.channels_last_3d`."""
    case = ModelCase.of(column)
    ranks = {parameter.ndim for parameter in case.model.parameters()} & {4, 5}
    if len(ranks) != 1:  # no convolutions, or both kinds, for which there is no format
        raise AbsentError
    (rank,), (sample, *_) = ranks, case.inputs[0]
    memory_format = torch.channels_last if rank == 4 else torch.channels_last_3d
    case.model.to(memory_format=memory_format)
    for inputs in case.inputs:
        if inputs[sample].ndim == rank:
            inputs[sample] = inputs[sample].to(memory_format=memory_format)
    case.changes = False
    return case


def attention_slicing(column: Column) -> ModelCase:
    """`set_attention_slice`"""
    case = ModelCase.of(column)
    if not hasattr(case.model, "set_attention_slice"):
        raise AbsentError
    case.model.set_attention_slice(1)
    case.changes = False
    return case


def layerwise_casting(column: Column) -> ModelCase:
    """`enable_layerwise_casting`: weights in float8, calls in float32."""
    case = ModelCase.of(column)
    types = {"storage_dtype": torch.float8_e4m3fn, "compute_dtype": torch.float32}
    if hasattr(case.model, "enable_layerwise_casting"):
        case.model.enable_layerwise_casting(**types)
    else:
        apply_layerwise_casting(case.model, **types)
    return case


def model_offload(column: Column) -> ModelCase:
    """What `enable_model_cpu_offload` does to a denoiser."""
    case = ModelCase.of(column)
    cpu_offload_with_hook(case.model, "cpu")
    case.changes = False
    return case


def sequential_offload(column: Column) -> ModelCase:
    """What `enable_sequential_cpu_offload` does to a denoiser: weights come layer by layer."""
    case = ModelCase.of(column)
    cpu_offload(case.model, "cpu", offload_buffers=bool(case.model._parameters))
    case.changes = False
    return case


def _group_offload(column: Column, level: str) -> ModelCase:
    case = ModelCase.of(column)
    if not getattr(case.model, "_supports_group_offloading", True):
        raise AbsentError
    apply_group_offloading(case.model, "cpu", offload_type=level, num_blocks_per_group=1)
    case.changes = False
    return case


def group_offload_of_blocks(column: Column) -> ModelCase:
    """`enable_group_offload` at block level."""
    return _group_offload(column, "block_level")


def group_offload_of_leaves(column: Column) -> ModelCase:
    """`enable_group_offload` at leaf level."""
    return _group_offload(column, "leaf_level")


def freeu(column: Column) -> ModelCase:
    """`enable_freeu`"""
    case = ModelCase.of(column)
    if not hasattr(case.model, "enable_freeu"):
        raise AbsentError
    case.model.enable_freeu(s1=0.9, s2=0.2, b1=1.5, b2=1.6)
    return case


def add_lora(model: nn.Module, *names: str) -> None:
    """Adapters with random weights, through PEFT, of which the first is active."""
    config = LoraConfig(r=2, target_modules=["to_q", "to_k"], init_lora_weights=False)
    for name in names:
        inject_adapter_in_model(config, model, adapter_name=name)
    use_lora(model, names[0])


def use_lora(model: nn.Module, name: str) -> None:
    """Switch to one adapter."""
    for layer in model.modules():
        if isinstance(layer, BaseTunerLayer):
            layer.set_adapter(name)


def lora_with_scale(column: Column) -> ModelCase:
    """A LoRA, scaled in the call where the model takes a scale."""
    case = ModelCase.of(column)
    add_lora(case.model, "first")
    scaled = [name for name in parameter_names(case.model) if name in SCALED]
    if scaled and isinstance(case.model, PeftAdapterMixin):
        for inputs in case.inputs:
            inputs[scaled[0]] = {"scale": 0.5}
    return case


def lora_switched(column: Column) -> ModelCase:
    """Another LoRA from the second call on."""
    case = ModelCase.of(column)
    add_lora(case.model, "first", "second")
    case.before = {0: partial(use_lora, case.model, "first"), 1: partial(use_lora, case.model, "second")}
    case.forced = frozenset({1})
    return case


def ip_adapter(column: Column) -> ModelCase:
    """An IP-Adapter that was loaded before attaching."""
    loaders: dict[str, Any] = {
        **dict.fromkeys(("SD", "SDXL", "motion"), tiny.load_ip_adapter),
        "SD3": load_sd3_ip_adapter,
        "Flux": load_flux_ip_adapter,
    }
    if column.name not in loaders:
        raise AbsentError
    case = ModelCase.of(column)
    loaders[column.name](case.model)
    with_image = inputs_of(case.model, 0)
    for name in {"added_cond_kwargs", "joint_attention_kwargs"} & set(with_image):
        for inputs in case.inputs:
            inputs[name] = with_image[name]
    return case


def controlnet(column: Column) -> ModelCase:
    """Residuals of a ControlNet; for a U-Net, others at each call."""
    case = ModelCase.of(column)
    names = parameter_names(case.model)
    if "mid_block_additional_residual" in names:
        shapes = _skip_shapes(case)
        for seed, inputs in enumerate(case.inputs):
            randn = _randn(seed)
            inputs["down_block_additional_residuals"] = tuple(map(randn, shapes))
            inputs["mid_block_additional_residual"] = randn(shapes[-1])
        return case
    tokens = (2, 64 if column.name == "Sana" else 16, 16)
    given = [name for name in names if name.startswith("controlnet_") and name.endswith("samples")]
    given += [name for name in names if name == "block_controlnet_hidden_states"]
    if not given:
        raise AbsentError
    for inputs in case.inputs:
        inputs.update({name: [_randn(0)(torch.Size(tokens))] * 3 for name in given})
    return case


def _randn(seed: int) -> Any:
    generator = torch.Generator().manual_seed(seed)
    return lambda shape: torch.randn(shape, generator=generator)


def _skip_shapes(case: ModelCase) -> list[torch.Size]:
    """Of what the down path of a U-Net hands over, from the outside."""
    shapes: list[torch.Size] = []
    handles = [case.model.conv_in.register_forward_hook(lambda *call: shapes.append(call[-1].shape))]
    handles += [
        block.register_forward_hook(lambda *call: shapes.extend(skip.shape for skip in call[-1][1]))
        for block in case.model.down_blocks
    ]
    with torch.no_grad():
        case.model(**case.inputs[0])
    for handle in handles:
        handle.remove()
    return shapes


def t2i_adapter(column: Column) -> ModelCase:
    """Residuals of a T2I-Adapter, others at each call."""
    case = ModelCase.of(column)
    if "down_intrablock_additional_residuals" not in parameter_names(case.model):
        raise AbsentError
    side = 4 if column.name == "SDXL" else 8  # behind the downsampler of a block without cross attention
    for seed, inputs in enumerate(case.inputs):
        randn = _randn(seed)
        shapes = torch.Size((2, 16, side, side)), torch.Size((2, 32, 4, 4))
        inputs["down_intrablock_additional_residuals"] = list(map(randn, shapes))
    return case


def guidance_off(column: Column) -> ModelCase:
    """Half of the batch from the second call on, as when guidance is switched off."""
    case = ModelCase.of(column)
    family, sample = family_of(case.model), next(iter(case.inputs[0]))
    size = family.size_of(case.model, case.inputs[0][sample].shape[1:])
    if column.name == "Flux":  # whose samples are tokens: their number says nothing about their places
        size = (8, 8)
    half = family.example_inputs(case.model, batch=1, size=size, generator=torch.Generator().manual_seed(0))
    case.inputs[1:] = [{**half, sample: inputs[sample][:1]} for inputs in case.inputs[1:]]
    case.forced, case.changes = frozenset({1}), False
    return case
