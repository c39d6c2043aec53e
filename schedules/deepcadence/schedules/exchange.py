"""Schedules for other caches, and from them.

None of these formats says all that a schedule does, nor the reverse: what can be said is translated, what is lost on
the way is listed, and what would mean something else is refused.

- DeepCache: the arguments of `DeepCacheSDHelper.set_params` (the DeepCache package 0.1.1, `DeepCache/extension`).
- cache-dit: the section `cache_config` that `cache_dit.load_configs` reads (vipshop/cache-dit,
  `docs/user_guide/LOAD_CONFIGS.md`), with `steps_computation_mask`, a list with 1 for each step that is computed and 0
  for each that is cached (`DBCacheConfig` in `cache_contexts/cache_config.py`).
- SmoothCache: the JSON that `DiffuserCacheHelper(model, schedule=...)` is given (Roblox/SmoothCache,
  `smoothcache_schedules/*.json`): per kind of layer, such as "attn1", a list of 1 and 0 as above.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, NoReturn, TypeAlias, cast

from deepcadence.schedules.errors import ScheduleError
from deepcadence.schedules.families.transformer import blocks_outside
from deepcadence.schedules.fields import describe, shortened
from deepcadence.schedules.generators import from_full_calls, uniform
from deepcadence.schedules.schedule import Schedule
from deepcadence.schedules.text import MAX_BYTES, canonical_json, parse_json

__all__ = ["Exported", "Imported", "Target", "export_schedule", "import_schedule"]

Target: TypeAlias = Literal["deepcache", "cache-dit", "smoothcache"]
"""A cache that schedules are exported for."""

_PROVENANCE = "where the schedule comes from: the model and sampler it is for, its cost and quality"
_STEPS = "calls: it counts sampling steps, so a sampler with several calls a step (Heun, PNDM) gets another schedule"


class Exported(NamedTuple):
    """A schedule in another format: the text of the file, and in words what it no longer says."""

    text: str
    lost: tuple[str, ...]


class Imported(NamedTuple):
    """A schedule from another format, and in words what the other one said besides."""

    schedule: Schedule
    lost: tuple[str, ...]


def export_schedule(schedule: Schedule, to: Target, *, source: str = "schedule") -> Exported:
    """Write a schedule for another cache; errors call it `source`.

    Raises:
        ScheduleError: the format cannot express it; says which part.
    """
    if schedule.reuse.mode != "hold":
        _refuse(source, "reuse.mode", describe(schedule.reuse.mode), f'"hold", all that {to} can be told')
    used = [(index, call) for index, call in enumerate(schedule.calls) if call != "full"]
    for index, call in used:
        if call != used[0][1]:
            _refuse(source, f"calls[{index}]", f"a second cut, {call}", f"one cut, as {to} has")
    timesteps = schedule.sampler.timesteps if schedule.sampler else None
    if timesteps is not None and len(set(timesteps)) < len(timesteps):
        expected = f"each timestep once: {to} counts sampling steps, and this sampler makes several calls a step"
        _refuse(source, "sampler.timesteps", "a timestep more than once", expected)
    lost: tuple[str, ...]
    match to:
        case "deepcache":
            data, lost = _deepcache(schedule, source)
        case "cache-dit":
            data, lost = _cache_dit(schedule, source)
        case "smoothcache":
            data, lost = _smoothcache(schedule, source)
        case _:
            raise ScheduleError(f'to: found {describe(to)}, expected "deepcache", "cache-dit" or "smoothcache"')
    return Exported(canonical_json(data), (*lost, *(() if timesteps else (_STEPS,)), _PROVENANCE))


def import_schedule(
    text: str | bytes, origin: Literal["cache-dit", "smoothcache"], *, cut: int = 0, source: str = "<string>"
) -> Imported:
    """Read a file of another cache; errors call it `source`.

    Args:
        text: cache-dit: a step mask, as digits (`1110100`) or a list, or a JSON configuration that holds one.
            smoothcache: its JSON.
        origin: whose it is.
        cut: where partial calls reuse; neither format says so in a way that means the same here.
        source: of the text.

    Raises:
        ScheduleError: it is not such a file, or says what a schedule cannot; names the place.
    """
    match origin:
        case "cache-dit":
            mask, place, lost = _read_cache_dit(text, cut, source)
        case "smoothcache":
            mask, place, lost = _read_smoothcache(text, source)
        case _:
            raise ScheduleError(f'origin: found {describe(origin)}, expected "cache-dit" or "smoothcache"')
    if mask[0] != 1:
        _refuse(source, f"{place}[0]", "0", "1: the first call of a run has nothing to reuse")
    schedule = from_full_calls(len(mask), (index for index, entry in enumerate(mask) if entry), cut)
    return Imported(schedule, lost)


def _deepcache(schedule: Schedule, source: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    cut = schedule.cuts[0] if schedule.cuts else 0
    interval = (*schedule.full_calls[1:2], schedule.num_calls)[0]
    regular = uniform(schedule.num_calls, interval, cut).calls
    for index, (found, right) in enumerate(zip(schedule.calls, regular, strict=True)):
        if found != right:
            rule = f"{describe(right)}: DeepCache has uniform schedules only, and this one begins with 1:{interval}"
            _refuse(source, f"calls[{index}]", describe(found), rule)
    layer = _layer(schedule, cut)
    numbered = re.fullmatch(r"up_blocks\.\d+\.resnets\.(\d+)", layer or "up_blocks.0.resnets.0")
    if numbered is None:
        _refuse(source, f'model.cuts["{cut}"]', describe(layer), "a layer of a U-Net of diffusers, as DeepCache caches")
    if layer is not None and int(numbered[1]) != 2 - cut % 3:
        expected = "a model with two layers a block: DeepCache takes three skips a block for granted"
        _refuse(source, f'model.cuts["{cut}"]', describe(layer), expected)
    lost = [f"the number of calls, {schedule.num_calls}: it takes any"]
    if layer is None:
        lost.append("the cut, in a model with other than two layers a block: DeepCache takes three skips for granted")
    return {"cache_branch_id": cut, "cache_interval": interval, "skip_mode": "uniform"}, tuple(lost)


def _cache_dit(schedule: Schedule, source: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    cut = schedule.cuts[0] if schedule.cuts else 0
    layer = _transformer_layer(schedule, cut, "cache-dit", source)
    if layer is not None and len({name.split(".")[0] for name in layer.split(" to ")}) > 1:
        expected = "blocks of one list: cache-dit leaves out blocks of each list by itself"
        _refuse(source, f'model.cuts["{cut}"]', describe(layer), expected)
    first, last = blocks_outside(cut)
    config = {
        "Fn_compute_blocks": first,
        "Bn_compute_blocks": last,
        "num_inference_steps": schedule.num_calls,
        "steps_computation_mask": _mask(schedule),
        "steps_computation_policy": "static",
    }
    lost = () if layer else ("the cut, in a U-Net, which cache-dit does not cache, or with two lists of blocks",)
    return {"cache_config": config}, lost


def _smoothcache(schedule: Schedule, source: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    cut = schedule.cuts[0] if schedule.cuts else 0
    _transformer_layer(schedule, cut, "SmoothCache", source)
    lost = f"the cut, {cut}: SmoothCache reuses the self-attention of every block, and computes all the rest"
    return {"attn1": _mask(schedule)}, (lost,)


def _read_cache_dit(text: str | bytes, cut: int, source: str) -> tuple[list[int], str, tuple[str, ...]]:
    digits = _digits(text)
    if digits:
        return digits, "mask", ()
    data = parse_json(text, source)
    prefix = "cache_config." if "cache_config" in data else ""
    config = data["cache_config"] if prefix else data
    if not isinstance(config, Mapping):
        _refuse(source, "cache_config", describe(config), "an object")
    place = f"{prefix}steps_computation_mask"
    given = config.get("steps_computation_mask")
    if isinstance(given, str):
        expected = "a list of 1 and 0, as cache_dit.steps_mask(mask_policy=..., total_steps=...) makes of the name"
        _refuse(source, place, f"{describe(given)}, the name of a rule of cache-dit", expected)
    mask = _entries(given, place, source)
    policy = config.get("steps_computation_policy", "dynamic")  # its default
    if policy != "static":
        expected = '"static": else cache-dit decides at each 0 by a measure of its own'
        _refuse(source, f"{prefix}steps_computation_policy", describe(policy), expected)
    for key in ("enable_taylorseer", "enable_dmd", "enable_foca"):
        if config.get(key):
            _refuse(source, f"{prefix}{key}", describe(config[key]), "false: features that are held")
    for key, ours in zip(("Fn_compute_blocks", "Bn_compute_blocks"), blocks_outside(cut), strict=True):
        if config.get(key, ours) != ours:
            expected = f"{ours}, which is what cut {cut} runs; choose another cut, or set it so"
            _refuse(source, f"{prefix}{key}", describe(config[key]), expected)
    known = {"steps_computation_mask", "steps_computation_policy", "Fn_compute_blocks", "Bn_compute_blocks"}
    others = sorted(set(config) - known - {"num_inference_steps"})
    beside = sorted(set(data) - {"cache_config"}) if prefix else []
    return mask, place, (*(f"{prefix}{shortened(key, 60)}" for key in others), *(shortened(key, 60) for key in beside))


def _read_smoothcache(text: str | bytes, source: str) -> tuple[list[int], str, tuple[str, ...]]:
    data = parse_json(text, source)
    masks = {key: _entries(value, key, source) for key, value in data.items()}
    if not masks:
        _refuse(source, "top level", "an empty object", 'a list of 1 and 0 for each kind of layer, such as "attn1"')
    first, *others = masks
    for key in others:
        if masks[key] != masks[first]:
            expected = f"the list of {shortened(first, 60)}: a schedule has one decision a call, for all layers"
            _refuse(source, key, "another list", expected)
    kinds = shortened(", ".join(masks), 200)
    return masks[first], first, (f"which layers are reused: there {kinds} in every block, here all inside the cut",)


def _digits(text: str | bytes) -> list[int]:
    """The digits of a plain mask, such as `110 100` or `[1, 1, 0]`; none if it is anything else."""
    if len(text) > MAX_BYTES:
        return []
    plain = (text.decode("utf-8", errors="replace") if isinstance(text, bytes) else text).strip()
    listed = plain.startswith("[") and plain.endswith("]")
    digits = [each.strip() for each in plain[1:-1].split(",")] if listed else list("".join(plain.split()))
    return [int(each) for each in digits] if set(digits) <= {"0", "1"} else []


def _entries(value: Any, place: str, source: str) -> list[int]:
    """A list of 1 and 0, at least one."""
    if not isinstance(value, list) or not value:
        _refuse(source, place, "nothing" if value is None else describe(value), "a list of 1 (compute) and 0 (reuse)")
    for index, entry in enumerate(value):
        if type(entry) is not int or entry not in (0, 1):
            _refuse(source, f"{place}[{index}]", describe(entry), "1 (compute) or 0 (reuse)")
    return cast(list[int], value)


def _mask(schedule: Schedule) -> list[int]:
    return [int(call == "full") for call in schedule.calls]


def _layer(schedule: Schedule, cut: int) -> str | None:
    """What the schedule says that a partial call at `cut` runs again, or leaves out."""
    return schedule.model.cuts.get(cut) if schedule.model else None


def _transformer_layer(schedule: Schedule, cut: int, target: str, source: str) -> str | None:
    layer = _layer(schedule, cut)
    if layer is not None and " to " not in layer:
        _refuse(source, f'model.cuts["{cut}"]', describe(layer), f"blocks of a transformer, which {target} caches")
    return layer


def _refuse(source: str, place: str, found: str, expected: str) -> NoReturn:
    raise ScheduleError(f"{source}: {shortened(place, 100)}: found {found}, expected {expected}")
