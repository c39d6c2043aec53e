"""Caching schedules for diffusion models: the schedule and its JSON, its generators, and the runtime."""

from __future__ import annotations

from deepcadence.schedules.checks import check_model, check_num_calls, check_sampler
from deepcadence.schedules.errors import (
    DeepcadenceError,
    MissingExtraError,
    ScheduleError,
    ScheduleWarning,
    UnsupportedModelError,
)
from deepcadence.schedules.exchange import Exported, Imported, Target, export_schedule, import_schedule
from deepcadence.schedules.families import Family, Views, family_of, register_family
from deepcadence.schedules.fields import MAX_CALLS, Call
from deepcadence.schedules.files import read_at_most, write_atomically
from deepcadence.schedules.generators import from_full_calls, nonuniform, uniform
from deepcadence.schedules.identity import config_sha256, model_info, sampler_info
from deepcadence.schedules.library import preset, presets
from deepcadence.schedules.provenance import Cost, Created, GeneratorInfo, ModelInfo, Quality, ReuseInfo, SamplerInfo
from deepcadence.schedules.run import RunStats
from deepcadence.schedules.runtime import Handle, apply, cached, denoiser
from deepcadence.schedules.schedule import Schedule
from deepcadence.schedules.schema import json_schema

__all__ = [
    "MAX_CALLS",
    "Call",
    "Cost",
    "Created",
    "DeepcadenceError",
    "Exported",
    "Family",
    "GeneratorInfo",
    "Handle",
    "Imported",
    "MissingExtraError",
    "ModelInfo",
    "Quality",
    "ReuseInfo",
    "RunStats",
    "SamplerInfo",
    "Schedule",
    "ScheduleError",
    "ScheduleWarning",
    "Target",
    "UnsupportedModelError",
    "Views",
    "apply",
    "cached",
    "check_model",
    "check_num_calls",
    "check_sampler",
    "config_sha256",
    "denoiser",
    "export_schedule",
    "family_of",
    "from_full_calls",
    "import_schedule",
    "json_schema",
    "model_info",
    "nonuniform",
    "preset",
    "presets",
    "read_at_most",
    "register_family",
    "sampler_info",
    "uniform",
    "write_atomically",
]
