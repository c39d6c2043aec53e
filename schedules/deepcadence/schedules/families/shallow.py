"""Shallow copies of modules: the building block of views."""

from __future__ import annotations

import copy

from torch import nn

from deepcadence.schedules.errors import UnsupportedModelError

# Attributes that bind a replaced forward to the original module; a copy must not inherit them.
_BOUND = ("forward", "_old_forward", "_hf_hook", "_diffusers_hook", "_compiled_call_impl")


def shallow(module: nn.Module, **replaced: nn.Module | None) -> nn.Module:
    """A copy of `module` that shares all it has, but for the submodules in `replaced`."""
    view = copy.copy(module)
    attributes = {key: value for key, value in module.__dict__.items() if key not in _BOUND and key not in replaced}
    view.__dict__.clear()
    view.__dict__.update(attributes)
    view.__dict__["_modules"] = {**module._modules, **replaced}
    return view


def refuse_hooks(module: nn.Module, name: str) -> None:
    """Refuse to split a block whose own hooks a shallow copy would lose or run twice.

    Raises:
        UnsupportedModelError: `module` has a replaced `forward` or hooks.
    """
    hooks = [hook for hook in ("_forward_hooks", "_forward_pre_hooks") if getattr(module, hook, None)]
    if "forward" in module.__dict__ or getattr(module, "_compiled_call_impl", None) is not None:
        hooks.append("a replaced forward (block-level offload or compilation)")
    if hooks:
        raise UnsupportedModelError(
            f"{name} ({type(module).__name__}) carries {', '.join(hooks)}, and the cut splits this block; "
            "remove the hook before attaching, or choose a cut at the edge of a block"
        )
