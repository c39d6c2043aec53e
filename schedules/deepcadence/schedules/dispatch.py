"""The one place where a denoiser is touched: its `forward`, replaced once, dispatching to the run at hand."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeAlias

from torch import nn

Answer: TypeAlias = Callable[[tuple[Any, ...], dict[str, Any]], Any]
"""What answers the calls of a denoiser during a run, given their arguments."""

# The runs of the current thread or task, by identity of the denoiser.
_runs: ContextVar[Mapping[int, Answer]] = ContextVar("deepcadence_runs")
_lock = threading.Lock()


def begin(model: nn.Module, run: Answer | None) -> None:
    """From now on, in this thread or task, `run` answers the calls of `model`; None ends that."""
    others = {key: value for key, value in _runs.get({}).items() if key != id(model)}
    _runs.set(others if run is None else {**others, id(model): run})


@contextmanager
def active(model: nn.Module, run: Answer) -> Iterator[None]:
    """`run` answers the calls of `model` in the body."""
    token = _runs.set({**_runs.get({}), id(model): run})
    try:
        yield
    finally:
        _runs.reset(token)


class Installation:
    """A replaced `forward`, shared by all attachments to the same module.

    Outside runs it passes every call on. A module with an accelerate hook keeps it outermost: the
    hook moves weights and inputs, then calls ours.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model, self.users = model, 0
        self.attribute = "_old_forward" if "_old_forward" in model.__dict__ else "forward"
        self.had_attribute = self.attribute in model.__dict__
        self.original = getattr(model, self.attribute)
        self.forward = _dispatching(model, self.original, self)
        setattr(model, self.attribute, self.forward)

    def restore(self) -> None:
        """Leave the module as it was found, also where a hook has wrapped ours since."""
        for attribute in ("forward", "_old_forward"):
            if self.model.__dict__.get(attribute) is self.forward:
                if attribute == self.attribute and not self.had_attribute:
                    delattr(self.model, attribute)
                else:
                    setattr(self.model, attribute, self.original)


def _dispatching(model: nn.Module, original: Any, installation: Installation) -> Any:
    key = id(model)

    @functools.wraps(original)
    def forward(*args: Any, **kwargs: Any) -> Any:
        run = _runs.get({}).get(key)
        return original(*args, **kwargs) if run is None else run(args, kwargs)

    forward._deepcadence = installation  # type: ignore[attr-defined]
    return forward


def install(model: nn.Module) -> Installation:
    """Replace the `forward` of `model`, or join those who did."""
    with _lock:
        current = model.__dict__.get("_old_forward") or model.__dict__.get("forward")
        installation: Installation | None = getattr(current, "_deepcadence", None)
        if installation is None or installation.model is not model:
            installation = Installation(model)
        installation.users += 1
        return installation


def uninstall(installation: Installation) -> None:
    """Leave; the last one restores the module."""
    with _lock:
        installation.users -= 1
        if installation.users == 0:
            installation.restore()
