"""A ControlNet that is left out at partial calls: its residuals are held, as the denoiser's features are."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from typing import Any, Protocol, TypeAlias

import torch
from torch import nn

from deepcadence.schedules.dispatch import Installation
from deepcadence.schedules.errors import UnsupportedModelError
from deepcadence.schedules.families.inputs import by_name, parameter_names
from deepcadence.schedules.fingerprint import Adapters, fingerprint
from deepcadence.schedules.schedule import Schedule

__all__ = ["HeldControlNet", "controlnet_of"]

# Other tensors for these within a run ask for other residuals, also where shapes are the same.
_CONDITIONS = ("controlnet_cond", "encoder_hidden_states", "added_cond_kwargs")

Arguments: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]


class Denoiser(Protocol):
    """What must be known of the run of the denoiser."""

    closed: bool

    def next_is_partial(self) -> bool:
        """Whether the schedule wants the next call partial."""


class HeldControlNet:
    """Answers the calls of a ControlNet during one run; it dies with the run.

    A pipeline calls its ControlNet before each call of the denoiser. Where the schedule wants that one partial, this
    returns what it returned last. It computes anew where a call is unlike the one that is held (in a shape, the scale,
    an adapter, the picture or the prompt), or where what is held did not reach the denoiser as it was returned, as with
    `guess_mode`. Where the denoiser has to make a full call after all, `renewed` makes up for what was left out.

    Args:
        controlnet: where its calls are answered from.
        denoiser: the run of the denoiser.
    """

    def __init__(self, controlnet: Installation, denoiser: Denoiser) -> None:
        self._controlnet, self._denoiser = controlnet, denoiser
        plain = getattr(controlnet.model, "_orig_mod", controlnet.model)
        self._names, self._adapters = parameter_names(plain), Adapters(plain)
        self.nbytes = self.left_out = 0
        self.clear()

    @property
    def closed(self) -> bool:
        """Whether calls are no longer answered."""
        return self._denoiser.closed

    def clear(self) -> None:
        """Let go of everything."""
        self._held: Any = None
        self._arrived = False  # it reached the denoiser as it was returned
        self._like: tuple[Any, ...] = ()  # the call that it is of
        self._missed: Arguments | None = None  # the call that was left out before the present one of the denoiser
        self._renewed: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}  # by identity: returned, right

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Answer one call of the ControlNet."""
        like = self._describe(args, kwargs)
        self._missed, self._renewed = None, {}
        if self._arrived and self._denoiser.next_is_partial() and _alike(like, self._like):
            self._missed = args, kwargs
            self.left_out += 1
            return self._held
        self.clear()  # old and new residuals never coexist
        self._held, self._like = self._controlnet.original(*args, **kwargs), like
        self.nbytes = max(self.nbytes, sum(each.element_size() * each.nelement() for each in _tensors(self._held)))
        return self._held

    def meet(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Take note of a call of the denoiser."""
        if not self._arrived and self._held is not None:
            self._arrived = self._is_among(args, kwargs)

    def renewed(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        """The arguments of a full call of the denoiser, with residuals of this step in place of held ones.

        Raises:
            UnsupportedModelError: the pipeline made something else of what is held than at the calls before.
        """
        missed = self._missed
        if missed is not None:
            self._make_up(*missed)
        if not self._renewed:
            return args, kwargs
        args, kwargs = _swapped((args, kwargs), self._renewed)
        if missed is not None and not self._is_among(args, kwargs):
            raise UnsupportedModelError(
                "the pipeline changed what its ControlNet returned, before a full call that was not planned; attach "
                "without hold_controlnet"
            )
        return args, kwargs

    def _is_among(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        given = {id(tensor) for tensor in _tensors((args, kwargs))}
        return all(id(tensor) in given for tensor in _tensors(self._held))

    def _make_up(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Make the call that was left out, from the outside, where hooks bring weights along."""
        stale = list(_tensors(self._held))
        self.clear()
        self._controlnet.model(*args, **kwargs)
        self.left_out -= 1
        self._renewed = {id(old): (old, new) for old, new in zip(stale, _tensors(self._held), strict=True)}
        self._arrived = True

    def _describe(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        """What residuals depend on: shapes and values as in `fingerprint`, adapters, and the conditions themselves."""
        named = by_name(self._names, args, kwargs)
        conditions = [named.get(name) for name in _CONDITIONS]
        return fingerprint(self._names, args, kwargs), self._adapters.state(), list(_tensors(conditions))


def controlnet_of(target: Any, schedule: Schedule) -> nn.Module:
    """The ControlNet of a pipeline, as the pipeline calls it, for a run under `schedule`.

    Raises:
        UnsupportedModelError: it has none, or it cannot be left out.
    """
    found = getattr(target, "controlnet", None)
    if not isinstance(found, nn.Module) or isinstance(target, nn.Module):
        raise UnsupportedModelError(
            f"hold_controlnet: found a {type(target).__name__} without one, expected a pipeline with a `controlnet`"
        )
    if schedule.reuse.mode == "adaptive":
        raise UnsupportedModelError(
            'hold_controlnet: found reuse mode "adaptive", which decides after the ControlNet was called; '
            "expected another mode"
        )
    if getattr(found, "_compiled_call_impl", None) is not None:
        raise UnsupportedModelError(
            f"hold_controlnet: {type(found).__name__} was compiled in place with .compile(); wrap it instead: "
            "pipe.controlnet = torch.compile(pipe.controlnet)"
        )
    return found


def _alike(now: tuple[Any, ...], then: tuple[Any, ...]) -> bool:
    """Whether two calls ask for the same residuals; tensors are compared by identity, the device is not waited for."""
    (*described, conditions), (*described_then, conditions_then) = now, then
    same = len(conditions) == len(conditions_then) and all(map(operator.is_, conditions, conditions_then))
    return same and described == described_then


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    """The tensors in a tensor, or in containers of them."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple, Mapping)):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _tensors(each)


def _swapped(value: Any, new: Mapping[int, tuple[torch.Tensor, torch.Tensor]]) -> Any:
    """`value` with other tensors in the place of some; equal to it where there are none."""
    if type(value) in (list, tuple):
        return type(value)(_swapped(each, new) for each in value)
    if isinstance(value, dict):
        return {name: _swapped(each, new) for name, each in value.items()}
    return new[id(value)][1] if id(value) in new else value
