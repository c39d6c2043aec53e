"""An oracle without views: all layers run at every call, and hooks put the features of full calls in their places."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Literal

import torch
from torch import nn


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
            first, *last = map(model.get_submodule, cuts[cut].split(" to "))
            if last:
                self._handles.append(first.register_forward_pre_hook(partial(self._enter, cut), with_kwargs=True))
                self._handles.append(last[0].register_forward_hook(partial(self._leave, cut)))
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
        found = inspect.signature(block.forward).bind(*args, **kwargs).arguments
        self._entered[cut] = [found[name] for name in ("encoder_hidden_states", "hidden_states") if name in found]

    def _leave(self, cut: int, _block: nn.Module, _args: Any, output: Any) -> Any:
        """The output of the last block that partial calls leave out: with text, (text, image)."""
        left = list(output) if isinstance(output, tuple) else [output]
        entered = self._entered[cut][-len(left) :]
        if self._now() == "full":
            self._kept[cut] = [after - before for before, after in zip(entered, left, strict=True)]
        elif self._now() == cut:
            left = [before + added for before, added in zip(entered, self._kept[cut], strict=True)]
        return tuple(left) if isinstance(output, tuple) else left[0]
