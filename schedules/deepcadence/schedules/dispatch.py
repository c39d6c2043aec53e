"""The one place where a denoiser is touched: its `forward`, replaced once, dispatching to the run at hand."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeAlias

from torch import nn

from deepcadence.schedules.errors import DeepcadenceError
from deepcadence.schedules.offload import other_hooks, wrapped_forwards

Answer: TypeAlias = Callable[[tuple[Any, ...], dict[str, Any]], Any]
"""What answers the calls of a denoiser during a run, given their arguments."""

# The runs of the current thread or task, by identity of the denoiser.
_runs: ContextVar[Mapping[int, Answer]] = ContextVar("deepcadence_runs")
_lock = threading.Lock()


def begin(model: nn.Module, run: Answer) -> None:
    """From now on, in this thread or task, `run` answers the calls of `model`.

    Raises:
        DeepcadenceError: another run does so already.
    """
    if _answer(model) is not None:
        raise DeepcadenceError(
            f"a run of this {type(model).__name__} is under way in this thread; end it (remove() its handle) first"
        )
    _runs.set({**_runs.get({}), id(model): run})


def end(model: nn.Module, run: Answer) -> None:
    """`run` no longer answers, if it still did in this thread or task."""
    if _runs.get({}).get(id(model)) is run:
        _runs.set({key: value for key, value in _runs.get({}).items() if key != id(model)})


def _answer(model: nn.Module) -> Answer | None:
    """What answers now; a run that was closed from another thread does not."""
    run = _runs.get({}).get(id(model))
    return None if getattr(run, "closed", False) else run


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

    Outside runs it passes every call on. Hooks that offload the module stay outermost: they move weights and inputs,
    then call ours.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model, self.users = model, 0
        self.place = inner_forward(model)
        holder, attribute = self.place
        self.had_attribute = attribute in holder.__dict__
        self.found = getattr(holder, attribute)
        # A deep copy of an attached module brings a dispatching forward of its own along.
        left_over = isinstance(self.found, functools.partial) and self.found.func is _dispatch
        self.original: Any = self.found.args[1] if left_over else self.found
        # A partial is deep-copied with its arguments: a copy of the module calls the copy, which has no runs.
        self.forward = functools.partial(_dispatch, model, self.original)
        functools.update_wrapper(self.forward, self.original)
        self.forward.__dict__["_deepcadence"] = self
        setattr(holder, attribute, self.forward)

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return type(None), ()  # copies and pickles of the module have none, and do not keep the original alive

    def restore(self) -> None:
        """Leave the module as it was found, also where a hook has wrapped ours since."""
        for holder, attribute in _places(self.model):
            if holder.__dict__.get(attribute) is self.forward:
                if (holder, attribute) == self.place and not self.had_attribute:
                    delattr(holder, attribute)
                else:
                    setattr(holder, attribute, self.found)
        self.forward.__dict__.pop("_deepcadence", None)  # a cycle, which would keep the module until it is collected


def _places(model: nn.Module) -> list[tuple[Any, str]]:
    """Where a module's forward may be kept, (object, attribute), the innermost first."""
    return [*((holder, "forward") for holder in wrapped_forwards(model)), (model, "_old_forward"), (model, "forward")]


def inner_forward(model: nn.Module) -> tuple[Any, str]:
    """Where the forward that all hooks end in is kept; an attribute that the object itself may not have."""
    return next((place for place in _places(model) if place[1] in place[0].__dict__), (model, "forward"))


def _dispatch(model: nn.Module, original: Any, /, *args: Any, **kwargs: Any) -> Any:
    run = _answer(model)
    return original(*args, **kwargs) if run is None else run(args, kwargs)


def replaced_forward(model: nn.Module) -> Any:
    """A `forward` that others put in place of the class's own, which views would bypass; None if there is none."""
    holder, attribute = inner_forward(model)
    inner = holder.__dict__.get(attribute)
    ours = hasattr(inner, "_deepcadence")
    own = getattr(inner, "__func__", None) is type(model).forward
    return next(other_hooks(model), None) if ours or own else inner


def install(model: nn.Module) -> Installation:
    """Replace the `forward` of `model`, or join those who did."""
    with _lock:
        holder, attribute = inner_forward(model)
        installation: Installation | None = getattr(holder.__dict__.get(attribute), "_deepcadence", None)
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
