"""On attaching: does the split network still compute what the model computes?"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from deepcadence.schedules.dispatch import Answer, active, install, uninstall
from deepcadence.schedules.errors import UnsupportedModelError
from deepcadence.schedules.families.midway import Crossing
from deepcadence.schedules.offload import execution_device
from deepcadence.schedules.run import Plan

# Splitting changes no arithmetic: views agree to the bit. Kernels that add in an order of their own
# (on a GPU) are given this many units of the type's precision, relative to the largest output.
_SLACK = 64

_FULL = "a full call"
_seeding = threading.Lock()


def self_test(plan: Plan) -> None:
    """Compare the views with the model's own forward on small random inputs.

    Raises:
        UnsupportedModelError: they differ; this version of the model's code is not understood.
    """
    model, family = plan.model, plan.family
    generator = torch.Generator().manual_seed(0)
    inputs = family.small_inputs(model, device=execution_device(model), generator=generator)
    ways = _ways_midway(plan) if plan.schedule.reuse.mode == "adaptive" else _ways(plan)
    installation = install(model)
    try:
        with active(model, lambda args, kwargs: installation.original(*args, **kwargs)):
            expected = _call(plan, inputs)
        for what, answer in ways.items():
            with active(model, answer):
                found = _call(plan, inputs)
            if family.exact or what == _FULL or not _close(found, expected):
                _compare(plan, what, found, expected)
    finally:
        uninstall(installation)


def _ways(plan: Plan) -> dict[str, Answer]:
    """Each kind of call that a run may make, the full one first."""
    views = plan.family.views(plan.model, plan.schedule.cuts)
    features: dict[int, torch.Tensor] = {}

    def full(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        output, stored = views.full(*args, **kwargs)
        features.update(stored)
        return output

    def partial(cut: int) -> Answer:
        return lambda args, kwargs: views.partial(cut, features[cut], *args, **kwargs)

    return {_FULL: full, **{f"a partial call at cut {cut}": partial(cut) for cut in plan.schedule.cuts}}


def _ways_midway(plan: Plan) -> dict[str, Answer]:
    """The same for a network that decides midway, and the calls that go on."""
    midway = plan.family.midway(plan.model, plan.schedule.cuts)
    features: dict[int, torch.Tensor] = {}

    def full(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        crossing = Crossing()
        output = midway(crossing, *args, **kwargs)
        features.update(crossing.features)
        return output

    def partial(cut: int, turns_back: bool) -> Answer:
        return lambda args, kwargs: midway(Crossing(cut, features[cut], lambda _: turns_back), *args, **kwargs)

    ways: dict[str, Answer] = {_FULL: full}
    for cut in plan.schedule.cuts:
        ways[f"a partial call at cut {cut}"] = partial(cut, True)
        ways[f"a call that goes on at cut {cut}"] = partial(cut, False)
    return ways


def _call(plan: Plan, inputs: dict[str, Any]) -> torch.Tensor:
    """The model's first output, always from the same state of the random generators, which is left as found."""
    try:
        with torch.no_grad(), _same_draws(plan.model):
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


@contextmanager
def _same_draws(model: nn.Module) -> Iterator[None]:
    """Have a model in training mode draw the same numbers each time.

    In evaluation mode it draws none, and the generators, which other threads may be drawing from, are not touched.
    """
    if not any(module.training for module in model.modules()):
        yield
        return
    with _seeding, torch.random.fork_rng():
        torch.manual_seed(0)
        yield


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
