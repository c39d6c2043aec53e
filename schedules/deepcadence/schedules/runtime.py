"""The caching runtime: attach a schedule to a pipeline, or to a bare denoiser."""

from __future__ import annotations

import copyreg
import functools
import threading
import warnings
from collections.abc import Callable, Hashable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from os import PathLike
from types import TracebackType
from typing import Any, cast
from weakref import WeakKeyDictionary

from torch import nn

from deepcadence.schedules.adaptive import new_run
from deepcadence.schedules.checks import check_model, check_sampler, steps_to_run
from deepcadence.schedules.controlnet import controlnet_of
from deepcadence.schedules.dispatch import Installation, active, begin, end, install, replaced_forward, uninstall
from deepcadence.schedules.errors import DeepcadenceError, ScheduleWarning, UnsupportedModelError
from deepcadence.schedules.families import family_of
from deepcadence.schedules.families.inputs import parameter_names
from deepcadence.schedules.guided import GuidedRun
from deepcadence.schedules.identity import model_info, sampler_info
from deepcadence.schedules.offload import prefetches, wrapped_forwards
from deepcadence.schedules.run import NewRun, Plan, RunStats
from deepcadence.schedules.schedule import Schedule
from deepcadence.schedules.selftest import self_test

_COMPONENTS = ("unet", "transformer")

_attaching = threading.Lock()  # of pipelines: two threads may find the same one free

# What was compiled for a denoiser, so that attaching again takes no minutes.
_compiled: WeakKeyDictionary[nn.Module, dict[Hashable, Callable[..., Any]]] = WeakKeyDictionary()


def denoiser(target: Any) -> nn.Module:
    """The denoiser of a pipeline (`unet` or `transformer`), or `target` itself if it is a module.

    A module that `torch.compile` has wrapped is unwrapped.

    Raises:
        UnsupportedModelError: `target` is neither a module nor has such a component.
    """
    module = called_module(target)
    return cast(nn.Module, getattr(module, "_orig_mod", module))


def apply(target: Any, schedule: Schedule | str | PathLike[str], *, hold_controlnet: bool = False) -> Handle:
    """Attach a schedule until `handle.remove()`.

    Args:
        target: a diffusers pipeline, each call of which is then one run; or a bare denoiser, whose
            calls from now on, in this thread or asyncio task, are one run.
        schedule: a `Schedule` or the path of its JSON file.
        hold_controlnet: leave the pipeline's ControlNet out at partial calls, which are given the residuals that it
            returned for the last full call. It saves more, and images differ more from those of all calls.

    Raises:
        ScheduleError: the file is not a schedule, or not one for this model.
        UnsupportedModelError: the model cannot be split, the self-test failed, or there is no ControlNet to hold.
    """
    return Handle(target, schedule, hold_controlnet=hold_controlnet)


@contextmanager
def cached(target: Any, schedule: Schedule | str | PathLike[str], *, hold_controlnet: bool = False) -> Iterator[Handle]:
    """`apply` for the length of a `with` block; takes and raises the same."""
    handle = apply(target, schedule, hold_controlnet=hold_controlnet)
    try:
        yield handle
    finally:
        handle.remove()


@dataclass(frozen=True)
class _Attachment:
    """What a handle holds on to until it is removed."""

    target: Any
    module: nn.Module
    plan: Plan
    installation: Installation
    controlnet: Installation | None

    def undo(self) -> None:
        uninstall(self.installation)
        if self.controlnet is not None:
            uninstall(self.controlnet)


class Handle:
    """An attached schedule. `remove()` leaves everything as it was found.

    Args:
        target: as in `apply`, which raises the same.
        schedule: likewise.
        hold_controlnet: likewise.
        new_run: makes the state of a run, which answers its calls; a `Run` of another kind may answer otherwise.
    """

    def __init__(
        self,
        target: Any,
        schedule: Schedule | str | PathLike[str],
        *,
        hold_controlnet: bool = False,
        new_run: NewRun = new_run,
    ) -> None:
        module = called_module(target)
        plan = _plan(module, schedule)
        self._schedule, self._source, self._new_run = plan.schedule, plan.source, new_run
        controlnet = controlnet_of(target, plan.schedule) if hold_controlnet else None
        self._last = RunStats()
        self._bare: GuidedRun | None = None
        self._under_way: set[GuidedRun] = set()
        self._warned = False
        _check_free(target)
        if hasattr(target, "scheduler"):
            check_sampler(plan.schedule, sampler_info(target.scheduler), source=plan.source)
        self_test(plan)
        held = None if controlnet is None else install(controlnet)
        attached = _Attachment(target, module, plan, install(module), held)
        self._attached: _Attachment | None = attached
        try:
            if target is module:
                self._bare = _begin_bare(attached, new_run)
            else:
                self._original_class = _scope_calls(target, self)
        except BaseException:
            self._attached = None
            attached.undo()
            raise

    @property
    def schedule(self) -> Schedule:
        """The schedule that is attached."""
        return self._schedule

    @property
    def stats(self) -> RunStats:
        """Of the run that ended last, in any thread; for a bare denoiser, of its one run so far."""
        return self._bare.stats() if self._bare is not None else self._last

    def remove(self) -> None:
        """Detach: the pipeline and its denoiser are as before. Calling it again does nothing.

        A run that is under way goes on with plain calls. A handle that is kept for its figures keeps no model.
        """
        attached, self._attached = self._attached, None
        if attached is None:
            return
        for run in tuple(self._under_way):  # what they hold is freed where they end: it may be in use in another thread
            run.closed = True
        if self._bare is not None:
            end(attached.module, self._bare)
            self._last = self._bare.stats()
            self._bare.close()
            self._bare = None
        else:
            attached.target.__class__ = self._original_class
        attached.undo()

    def __enter__(self) -> Handle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def _is_of(self, target: Any) -> bool:
        attached = self._attached
        return attached is not None and attached.target is target

    @contextmanager
    def _run(self) -> Iterator[None]:
        """The body of one call of the pipeline: one run."""
        attached = self._attached
        if attached is None:  # removed meanwhile, in another thread
            yield
            return
        if called_module(attached.target) is not attached.module:
            raise UnsupportedModelError(
                "the pipeline's denoiser was replaced after the schedule was attached; remove() and attach again"
            )
        run = GuidedRun(attached.plan, attached.controlnet, new_run=self._new_run)
        self._under_way.add(run)
        run.closed = self._attached is None
        try:
            with ExitStack() as stack:
                stack.enter_context(active(attached.module, run))
                if attached.controlnet is not None and run.controlnet is not None:
                    stack.enter_context(active(attached.controlnet.model, run.controlnet))
                yield
            if not run.closed:
                self._check_length(run.length)
        finally:
            self._under_way.discard(run)
            self._last = run.stats()
            run.close()

    def _check_length(self, calls: int) -> None:
        planned = self._schedule.num_calls
        if calls < planned and not self._warned:
            self._warned = True
            warnings.warn(
                f"{self._source}: the run made {calls} calls, the schedule has {planned}; its first "
                f"{calls} were used. Run {steps_to_run(self._schedule)}, or spread it over the whole run with "
                f"schedule.resample({calls}).",
                ScheduleWarning,
                stacklevel=5,
            )


def _begin_bare(attached: _Attachment, new_run: NewRun) -> GuidedRun:
    run = GuidedRun(attached.plan, new_run=new_run)
    begin(attached.module, run)
    return run


def called_module(target: Any) -> nn.Module:
    """The module that the pipeline calls, compiled or not."""
    if isinstance(target, nn.Module):
        return target
    second = getattr(target, "transformer_2", None)
    if isinstance(second, nn.Module):
        raise UnsupportedModelError(
            f"this {type(target).__name__} has two denoisers, `transformer` and `transformer_2`, which share the calls "
            "of a run; attach a schedule to each of them, for its own calls"
        )
    for name in _COMPONENTS:
        component = getattr(target, name, None)
        if isinstance(component, nn.Module):
            return component
    raise UnsupportedModelError(
        f"found a {type(target).__name__}; expected a torch module or a pipeline with a "
        f"{' or '.join(f'`{name}`' for name in _COMPONENTS)} component"
    )


def _plan(module: nn.Module, schedule: Schedule | str | PathLike[str]) -> Plan:
    model = cast(nn.Module, getattr(module, "_orig_mod", module))
    loaded = schedule if isinstance(schedule, Schedule) else Schedule.load(schedule)
    source = "schedule" if isinstance(schedule, Schedule) else str(schedule)
    if getattr(model, "_compiled_call_impl", None) is not None:
        raise UnsupportedModelError(
            f"{type(model).__name__} was compiled in place with .compile(); the decision of a schedule stays outside "
            "the graphs, so wrap it instead: pipe.unet = torch.compile(pipe.unet)"
        )
    if model is not module and (hasattr(model, "_hf_hook") or wrapped_forwards(model)):
        raise UnsupportedModelError(f"{type(model).__name__} is both compiled and offloaded; choose one of the two")
    if prefetches(model):
        raise UnsupportedModelError(
            f"group offload of this {type(model).__name__} loads blocks ahead with use_stream=True, in the order of a "
            "full call, and a partial call leaves blocks out; offload with use_stream=False"
        )
    foreign = replaced_forward(model)
    if foreign is not None:
        raise UnsupportedModelError(
            f"the forward of this {type(model).__name__} was replaced, by {getattr(foreign, '__qualname__', foreign)}, "
            "which a partial call would bypass; undo it before attaching"
        )
    if model is not module and loaded.reuse.mode == "adaptive":
        raise UnsupportedModelError(
            f'{type(model).__name__} is compiled, and reuse mode "adaptive" decides within a call, which would break '
            "its graph; attach to the model as it was before torch.compile, or use another mode"
        )
    family = family_of(model)
    check_model(loaded, model_info(model, family.cuts(model)), source=source)
    plan = functools.partial(Plan, model, family, loaded, source, parameter_names(model))
    if model is module:
        return plan()
    return plan(compile=getattr(module, "dynamo_ctx", None), compiled=_compiled.setdefault(module, {}))


def _check_free(target: Any) -> None:
    """Raise `DeepcadenceError` if a schedule is attached to a pipeline already."""
    owner = getattr(type(target), "_deepcadence_handle", None)
    if isinstance(owner, Handle) and owner._is_of(target):
        raise DeepcadenceError(
            f"this {type(target).__name__} has a schedule already; remove() the first handle before attaching"
        )


def _new(kind: type, *arguments: Any) -> Any:
    return kind.__new__(kind, *arguments)


def _scope_calls(pipe: Any, handle: Handle) -> type:
    """Give the pipeline a class of its own whose `__call__` begins and ends a run; returns the original one.

    Python looks `__call__` up on the type, so this is the only way to see a run begin and end
    whatever the scheduler does. The class keeps name, module and signature of the original. Copies and pickles of the
    pipeline are of the original class: they have no schedule.

    Raises:
        DeepcadenceError: another thread was faster.
        UnsupportedModelError: it has no `__call__`, or cannot be given another class.
    """
    original = type(pipe)
    while isinstance(original.__dict__.get("_deepcadence_handle"), Handle):  # made from an attached pipeline's class
        original = original.__mro__[1]
    if not callable(pipe):
        raise UnsupportedModelError(
            f"a {original.__name__} cannot be called, and one call of a pipeline is one run; attach to its denoiser, "
            "whose calls are one run until remove()"
        )

    @functools.wraps(original.__call__)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not handle._is_of(self):
            return original.__call__(self, *args, **kwargs)
        with handle._run():
            return original.__call__(self, *args, **kwargs)

    def reduce_ex(self: Any, protocol: Any) -> Any:
        reduced = cast(Any, original).__reduce_ex__(self, protocol)
        if isinstance(reduced, str) or reduced[0] is not copyreg.__newobj__:  # type: ignore[attr-defined]
            return reduced
        _, (_, *arguments), *rest = reduced
        return _new, (original, *arguments), *rest

    namespace = {
        "__call__": call,
        "__reduce_ex__": reduce_ex,
        "__module__": original.__module__,
        "__qualname__": original.__qualname__,
        "__doc__": original.__doc__,
        "_deepcadence_handle": handle,
    }
    try:
        with _attaching:
            _check_free(pipe)
            pipe.__class__ = type(original.__name__, (original,), namespace)
    except TypeError as error:  # as with __slots__
        raise UnsupportedModelError(f"the calls of this {original.__name__} cannot be followed: {error}") from error
    return original
