"""Checking a schedule against what it is about to be used with."""

from __future__ import annotations

import warnings

from deepcadence.schedules.errors import ScheduleError, ScheduleWarning
from deepcadence.schedules.fields import describe
from deepcadence.schedules.provenance import ModelInfo, SamplerInfo
from deepcadence.schedules.schedule import Schedule

__all__ = ["check_model", "check_num_calls", "check_sampler", "steps_to_run"]


def check_model(schedule: Schedule, model: ModelInfo, *, source: str = "schedule") -> None:
    """Check that a schedule may be used with a model.

    `model` is what `model_info` gives for it, with all cuts that it has. A schedule that names no model must use only
    cuts that there are; one that names its model must name this one.

    Raises:
        ScheduleError: names `source`, the place in it, what was found and what was expected.
    """
    made_for = schedule.model
    if made_for is not None:
        if made_for.class_name != model.class_name:
            _refuse(source, "model.class", made_for.class_name, model.class_name, _ANOTHER_MODEL)
        if made_for.config_sha256 is not None and made_for.config_sha256 != model.config_sha256:
            _refuse(source, "model.config_sha256", made_for.config_sha256, model.config_sha256, _ANOTHER_MODEL)
    for index, call in enumerate(schedule.calls):
        if call != "full" and call not in model.cuts:
            cuts = ", ".join(map(str, sorted(model.cuts))) or "none"
            raise ScheduleError(
                f"{source}: calls[{index}]: found cut {call}, expected a cut that this {model.class_name} has ({cuts})"
            )
    for cut in schedule.cuts:
        layer = made_for.cuts.get(cut) if made_for is not None else None
        if layer is not None and layer != model.cuts[cut]:
            _refuse(source, f'model.cuts["{cut}"]', layer, model.cuts[cut], _ANOTHER_MODEL)


def check_num_calls(schedule: Schedule, num_calls: int, *, source: str = "schedule") -> None:
    """Check that a schedule covers a run of `num_calls` calls exactly.

    Raises:
        ScheduleError: it covers another number; the message names `Schedule.resample`.
    """
    if schedule.num_calls != num_calls:
        raise ScheduleError(
            f"{source}: calls: found {schedule.num_calls} calls, expected {num_calls}, as this run makes; "
            f"run {steps_to_run(schedule)}, or use schedule.resample({num_calls})"
        )


def steps_to_run(schedule: Schedule) -> str:
    """The number of steps that a schedule is for, in words."""
    steps = schedule.sampler and schedule.sampler.steps
    return f"num_inference_steps={steps}, as its sampler.steps says" if steps else "the steps that it was made for"


def check_sampler(schedule: Schedule, sampler: SamplerInfo, *, source: str = "schedule") -> None:
    """Warn (`ScheduleWarning`) where a schedule was made with another sampler: it works, its quality is not known."""
    made_with = schedule.sampler
    if made_with is None:
        return
    for key in ("class_name", "timestep_spacing", "config_sha256", "timesteps"):
        found, expected = getattr(made_with, key), getattr(sampler, key)
        if found is not None and expected is not None and found != expected:
            name = "class" if key == "class_name" else key
            values = "other timesteps" if key == "timesteps" else f"{describe(found)}, expected {describe(expected)}"
            message = f"{source}: sampler.{name}: found {values}; the quality that the file states may not hold here"
            if key == "timestep_spacing":
                config = f"pipe.scheduler.config, timestep_spacing={describe(found)}"
                message += f". To have it: pipe.scheduler = {made_with.class_name}.from_config({config})"
            warnings.warn(message, ScheduleWarning, stacklevel=2)
            return


_ANOTHER_MODEL = "the schedule was made for another model; make one for this model"


def _refuse(source: str, place: str, found: str, expected: str | None, advice: str) -> None:
    there = "a model without a configuration" if expected is None else f"{describe(expected)}, as this model has"
    raise ScheduleError(f"{source}: {place}: found {describe(found)}, expected {there}; {advice}")
