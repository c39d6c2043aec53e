"""An oracle without views: all layers run at every call, and hooks put the features of full calls in their places."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Literal

import torch
from torch import nn

STREAMS = ("hidden_states", "encoder_hidden_states")


class Replay:
    """While it is entered, `model` follows `calls`.

    Args:
        model: the denoiser.
        calls: what each call is.
        cuts: the name of each cut, as a family gives it.
        widths: channels of the feature at each cut that is the input of a layer, where skips are behind it.
    """

    def __init__(
        self,
        model: nn.Module,
        calls: Sequence[Literal["full"] | int],
        cuts: Mapping[int, str],
        widths: Mapping[int, int],
    ) -> None:
        self._calls, self._index, self._widths = calls, -1, widths
        self._kept: dict[int, list[torch.Tensor]] = {}
        self._entered: dict[int, list[torch.Tensor]] = {}
        self._handles = [model.register_forward_pre_hook(self._next)]
        for cut in {call for call in calls if call != "full"}:
            first = model.get_submodule(cuts[cut].split(" to ")[0])
            if " to " in cuts[cut]:
                self._handles.append(first.register_forward_pre_hook(partial(self._enter, cut), with_kwargs=True))
                after = model.get_submodule(_block_after(model, cuts[cut].split(" to ")[1]))
                self._handles.append(after.register_forward_pre_hook(partial(self._leave, cut), with_kwargs=True))
            else:
                self._handles.append(first.register_forward_pre_hook(partial(self._join, cut), with_kwargs=True))

    def __enter__(self) -> Replay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()

    @property
    def made(self) -> int:
        """Calls so far."""
        return self._index + 1

    def _next(self, _model: nn.Module, _args: Any) -> None:
        self._index += 1

    def _now(self) -> Literal["full"] | int:
        return self._calls[self._index]

    def _join(self, cut: int, _layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The input of a layer of a U-Net: the feature, and behind it the skip."""
        width, (entering, *others) = self._widths[cut], (*args, *kwargs.values())
        if self._now() == "full":
            self._kept[cut] = [entering[:, :width].clone()]
        elif self._now() == cut:
            entering = torch.cat([*self._kept[cut], entering[:, width:]], dim=1)
        return (entering, *others), {}

    def _enter(self, cut: int, block: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        bound = _bound(block, args, kwargs)
        self._entered[cut] = [bound.arguments[name] for name in _streams(bound)]

    def _leave(self, cut: int, block: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What enters the first block behind those that partial calls leave out: the streams that have entered them."""
        bound = _bound(block, args, kwargs)
        names = _streams(bound)
        if self._now() == "full":
            entered = zip(names, self._entered[cut], strict=True)
            self._kept[cut] = [bound.arguments[name] - before for name, before in entered]
        elif self._now() == cut:
            for name, before, added in zip(names, self._entered[cut], self._kept[cut], strict=True):
                bound.arguments[name] = before + added
        return bound.args[1:], bound.kwargs


def _bound(block: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> inspect.BoundArguments:
    """Arguments by name; of the class, since offloading in diffusers wraps a block's own `forward`."""
    return inspect.signature(type(block).forward).bind(block, *args, **kwargs)


def _streams(bound: inspect.BoundArguments) -> list[str]:
    return [name for name in STREAMS if isinstance(bound.arguments.get(name), torch.Tensor)]


def _block_after(model: nn.Module, name: str) -> str:
    """The block that runs behind another one: the next of its list, or the first of the next list."""
    path, _, index = name.rpartition(".")
    if int(index) + 1 < len(model.get_submodule(path)):  # type: ignore[arg-type]
        return f"{path}.{int(index) + 1}"
    lists = [child for child, module in model.named_children() if isinstance(module, nn.ModuleList)]
    return f"{lists[lists.index(path) + 1]}.0"
