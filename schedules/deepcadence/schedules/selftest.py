"""On attaching: does the split network still compute what the model computes?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from deepcadence.schedules.dispatch import active, install, uninstall
from deepcadence.schedules.errors import UnsupportedModelError
from deepcadence.schedules.run import Plan

# Splitting changes no arithmetic: views agree to the bit. Kernels that add in an order of their own
# (on a GPU) are given this many units of the type's precision, relative to the largest output.
_SLACK = 64


def self_test(plan: Plan) -> None:
    """Compare the views with the model's own forward on small random inputs.

    Raises:
        UnsupportedModelError: they differ; this version of the model's code is not understood.
    """
    model, family, cuts = plan.model, plan.family, plan.schedule.cuts
    views = family.views(model, cuts)
    features: dict[int, torch.Tensor] = {}
    hooks = (getattr(module, "_hf_hook", None) for module in model.modules())  # offloaded weights run elsewhere
    device = next((d for hook in hooks if (d := getattr(hook, "execution_device", None)) is not None), None)
    generator = torch.Generator().manual_seed(0)
    inputs = family.small_inputs(model, device=device, generator=generator)

    def full(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        output, stored = views.full(*args, **kwargs)
        features.update(stored)
        return output

    def partial(cut: int) -> Callable[[tuple[Any, ...], dict[str, Any]], Any]:
        return lambda args, kwargs: views.partial(cut, features[cut], *args, **kwargs)

    installation = install(model)
    try:
        with active(model, lambda args, kwargs: installation.original(*args, **kwargs)):
            expected = _call(plan, inputs)
        with active(model, full):
            _compare(plan, "a full call", _call(plan, inputs), expected)
        for cut in cuts:
            with active(model, partial(cut)):
                what, found = f"a partial call at cut {cut}", _call(plan, inputs)
                if not family.exact and _close(found, expected):
                    continue
                _compare(plan, what, found, expected)
    finally:
        uninstall(installation)


def _call(plan: Plan, inputs: dict[str, Any]) -> torch.Tensor:
    """The model's first output, always from the same state of the random generators, which is left as found."""
    try:
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(0)
            plain = {"return_dict": False} if "return_dict" in plan.names else {}
            output = plan.model(**inputs, **plain)
            first: torch.Tensor = output if isinstance(output, torch.Tensor) else output[0]
    except torch.OutOfMemoryError:
        raise  # says nothing about the model
    except (RuntimeError, TypeError, ValueError, AttributeError, KeyError, IndexError) as error:
        raise UnsupportedModelError(
            f"self-test failed: {type(plan.model).__name__} does not run on inputs like those of its configuration "
            f"({type(error).__name__}: {error})"
        ) from error
    return first


def _close(found: torch.Tensor, expected: torch.Tensor) -> bool:
    """Whether two outputs agree as far as they can where a residual was subtracted and added: half of the digits."""
    if found.shape != expected.shape:
        return False
    error = torch.linalg.vector_norm((found - expected).float()) / torch.linalg.vector_norm(expected.float())
    return bool(error <= torch.finfo(expected.dtype).eps ** 0.5)


def _compare(plan: Plan, what: str, found: torch.Tensor, expected: torch.Tensor) -> None:
    if torch.equal(found, expected):
        return
    error = ((found - expected).abs().max() / expected.abs().max()).item() if found.shape == expected.shape else None
    if error is not None and error <= _SLACK * torch.finfo(expected.dtype).eps and expected.device.type != "cpu":
        return
    how = f"relative error {error:.3g}" if error is not None else f"shape {list(found.shape)}"
    raise UnsupportedModelError(
        f"self-test failed: {what} of {type(plan.model).__name__} differs from the model's own forward ({how}, "
        f"expected equality); the installed version of its code is not understood by family '{plan.family.name}'"
    )
