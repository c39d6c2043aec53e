"""From command-line options to a workload: the pipeline loaded, on its device, with its prompts."""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from deepcadence.cli.console import note
from deepcadence.cli.progress import busy
from deepcadence.schedules import DeepcadenceError, read_at_most

if TYPE_CHECKING:
    import torch

    from deepcadence.cli.options import Dtype
    from deepcadence.probe import Workload
    from deepcadence.schedules import Schedule

DEFAULT_STEPS = 50

MAX_PROMPTS_BYTES = 2**25
"""The largest list of prompts that is read: far more than any search would use."""


class PromptsError(DeepcadenceError, ValueError):
    """Prompts that are missing, or a file that holds none."""


def load_workload(
    model: str,
    *,
    steps: int,
    seeds: tuple[int, ...],
    prompts: tuple[str, ...],
    call: list[str] | None = None,
    batch_size: int,
    device: str | None,
    dtype: Dtype,
) -> Workload:
    """The workload that the options of `probe`, `search` and `generate` describe.

    Raises:
        LoadError: the model is not found or cannot be loaded.
        PromptsError: it needs prompts and there are none.
        BadParameter: `call` is malformed.
    """
    from deepcadence.probe import Workload

    call_kwargs = read_call(call)
    pipeline = load_model(model, device, dtype.torch())
    if not prompts and "prompt" in inspect.signature(pipeline.__call__).parameters:
        raise PromptsError(
            f"{model} makes images from text: give it prompts with --prompts FILE, one a line; "
            "a search takes those of its profile"
        )
    return Workload(pipeline, steps=steps, seeds=seeds, prompts=prompts, call_kwargs=call_kwargs, batch_size=batch_size)


@contextmanager
def scheduled_workload(
    model: str,
    schedule: Schedule | None,
    source: str,
    *,
    steps: int | None,
    seeds: tuple[int, ...],
    prompts: Path | None,
    call: list[str] | None,
    batch_size: int,
    device: str | None,
    dtype: Dtype,
) -> Iterator[Workload]:
    """The workload that the options of `generate` and `bench` describe; errors call its schedule `source`.

    It has the steps and, inside the `with` block, the timestep_spacing that the schedule was made with.

    Raises:
        ScheduleError: the schedule is not for so many steps.
        LoadError: the model is not found or cannot be loaded.
        PromptsError: it needs prompts and there are none, or they cannot be read.
        BadParameter: `call` is malformed.
    """
    from deepcadence.probe import spaced

    workload = load_workload(
        model,
        steps=steps or DEFAULT_STEPS,
        seeds=seeds,
        prompts=read_prompts(prompts),
        call=call,
        batch_size=batch_size,
        device=device,
        dtype=dtype,
    )
    with spaced(workload.pipeline, spacing_for(workload, schedule)):
        if schedule is None:
            yield workload
            return
        fitting = fit_steps(workload, schedule, source, steps)
        if fitting.steps != workload.steps:
            note(f"taking {fitting.steps} steps, which make the {schedule.num_calls} calls of {source}")
        yield fitting


def read_call(texts: list[str] | None) -> dict[str, Any]:
    """The arguments that `--call` gives, by name: what is no JSON is text.

    Raises:
        BadParameter: one is not NAME=VALUE, or its name stands twice.
    """
    found: dict[str, Any] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier() or name in found:
            raise typer.BadParameter(f"found {text!r}, expected NAME=VALUE, each name once", param_hint="--call")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def spacing_for(workload: Workload, schedule: Schedule | None) -> str | None:
    """The `timestep_spacing` that a schedule asks for; None where there is nothing to change."""
    from deepcadence.schedules import sampler_info

    wanted = schedule.sampler if schedule else None
    if wanted is None or not hasattr(workload.pipeline, "scheduler"):
        return None
    own = sampler_info(workload.pipeline.scheduler)
    if own.class_name != wanted.class_name or own.timestep_spacing in (None, wanted.timestep_spacing):
        return None
    return wanted.timestep_spacing


def fit_steps(workload: Workload, schedule: Schedule, source: str, steps: int | None) -> Workload:
    """The workload with as many steps as make the calls of the schedule; checks what can be checked before a run.

    Raises:
        ScheduleError: no number of steps does, or `steps`, where it is given, does not.
    """
    from deepcadence.schedules import ScheduleError, check_num_calls, check_sampler, sampler_info

    calls, said = schedule.num_calls, schedule.sampler and schedule.sampler.steps
    guesses = (steps,) if steps else ((said,) if said else (calls, max(1, calls - 1), (calls + 1) // 2))
    fitting = next((guess for guess in guesses if workload.num_calls(guess) == calls), guesses[0])
    if steps and not said and (made := workload.num_calls(steps)) != calls:
        raise ScheduleError(
            f"{source}: calls: found {calls} calls, expected {made}, as --steps {steps} makes; leave --steps out, or "
            f"convert it with: deepcadence schedule resample {source} --calls {made} -o FILE"
        )
    check_num_calls(schedule, workload.num_calls(fitting), source=source)
    check_sampler(schedule, sampler_info(workload.pipeline.scheduler), source=source)
    return workload.replace(steps=fitting)


def load_model(model: str, device: str | None, dtype: torch.dtype) -> Any:
    """The pipeline of a MODEL argument, on `device` or the default one.

    Raises:
        LoadError: the model is not found or cannot be loaded.
    """
    with busy(f"loading {model}"):
        from deepcadence.probe import load_pipeline

        quiet_libraries()
        return load_pipeline(model, device=device or default_device(), dtype=dtype)


def default_device() -> str:
    """Cuda where there is one, else cpu."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def read_prompts(path: Path | None) -> tuple[str, ...]:
    """The lines of `path` that are not empty; () without a file.

    Raises:
        PromptsError: there are none, or the file is no text, or far too large.
        OSError: it cannot be read.
    """
    if path is None:
        return ()
    content = read_at_most(path, MAX_PROMPTS_BYTES)
    if len(content) > MAX_PROMPTS_BYTES:
        raise PromptsError(f"{path}: found more than {MAX_PROMPTS_BYTES} bytes, expected one prompt a line")
    try:
        text = content.decode("utf-8").replace("\ufeff", "")  # byte-order marks, as joined files have some inside
    except UnicodeDecodeError as error:
        raise PromptsError(
            f"{path}: found bytes that are not UTF-8 ({error.reason}), expected one prompt a line"
        ) from None
    lines = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not lines:
        raise PromptsError(f"{path}: found no prompt, expected one a line")
    return lines


def quiet_libraries() -> None:
    """No advice, no bars of their own and no account of each attempt from the libraries that load models."""
    import diffusers.utils.logging
    import transformers.utils.logging

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.set_verbosity_error()
        library.disable_progress_bar()
