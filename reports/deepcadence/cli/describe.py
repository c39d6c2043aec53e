"""A schedule in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepcadence.schedules import Cost, Quality, Schedule

_MANY_CALLS = 1_000
"""More calls than any sampler makes by default are not printed one by one."""


def describe(schedule: Schedule) -> str:
    """`50 calls: 13 full, 37 partial at cut 0, extrapolated by order 1`."""
    from deepcadence.schedules.fields import cuts_text

    full = len(schedule.full_calls)
    partial = schedule.num_calls - full
    where = f" at {cuts_text(schedule.cuts)}" if partial else ""
    return f"{schedule.num_calls} calls: {full} full, {partial} partial{where}{_reuse(schedule) if partial else ''}"


def _reuse(schedule: Schedule) -> str:
    match schedule.reuse.mode:
        case "extrapolate":
            alpha = "" if schedule.reuse.alpha in (None, 1) else f", alpha {schedule.reuse.alpha:g}"
            return f", extrapolated by order {schedule.reuse.order}{alpha}"
        case "adaptive":
            return f", or full where the input changed by more than {schedule.reuse.threshold:g}"
        case _:
            return ""


def summary(schedule: Schedule) -> dict[str, Any]:
    """What a script asks about a schedule, as plain JSON data."""
    return {
        "num_calls": schedule.num_calls,
        "full": len(schedule.full_calls),
        "partial": schedule.num_calls - len(schedule.full_calls),
        "full_calls": list(schedule.full_calls),
        "cuts": list(schedule.cuts),
        "reuse": schedule.reuse.model_dump(exclude_none=True),
        "speedup": schedule.cost.speedup if schedule.cost else None,
        "quality": [quality.model_dump(mode="json") for quality in schedule.quality or ()],
    }


def timeline(schedule: Schedule) -> str:
    """One word per call, `F` or the cut, in groups of ten calls; of very many calls the first."""
    words = ["F" if call == "full" else str(call) for call in schedule.calls[:_MANY_CALLS]]
    gap = "" if all(len(word) == 1 for word in words) else " "
    more = schedule.num_calls - len(words)
    groups = [gap.join(words[at : at + 10]) for at in range(0, len(words), 10)]
    return "  ".join([*groups, *([f"and {more} more"] if more else [])])


def facts(schedule: Schedule) -> list[tuple[str, str]]:
    """Name and value of all that a schedule says; the optional parts where they are there."""
    found = [("schedule", describe(schedule)), ("timeline", timeline(schedule))]
    if schedule.reuse.mode == "adaptive":
        values = schedule.reuse.model_dump(exclude_none=True)
        mode = str(values.pop("mode"))
        found.append(("reuse", ", ".join([mode, *(f"{key} {value:g}" for key, value in values.items())])))
    if schedule.generator:
        values = schedule.generator.model_dump(exclude_none=True)
        name = str(values.pop("name"))
        found.append(("generator", ", ".join([name, *(f"{key} {value}" for key, value in values.items())])))
    for what, info in (("model", schedule.model), ("sampler", schedule.sampler)):
        if info:
            sha = f", config {info.config_sha256[:12]}" if info.config_sha256 else ""
            found.append((what, f"{info.class_name}{sha}{_steps(schedule) if what == 'sampler' else ''}"))
    if schedule.cost:
        found.append(("cost", _cost(schedule.cost)))
    found += [(quality.metric, _quality(quality)) for quality in schedule.quality or ()]
    if schedule.created:
        found.append(("created", f"by {schedule.created.by}, {schedule.created.at}"))
    return found


def _steps(schedule: Schedule) -> str:
    """`, 30 steps, trailing`."""
    sampler = schedule.sampler
    if sampler is None:
        return ""
    steps = f", {sampler.steps} steps" if sampler.steps else ""
    return steps + (f", {sampler.timestep_spacing}" if sampler.timestep_spacing else "")


def _cost(cost: Cost) -> str:
    full = f"full call {cost.full_macs / 1e9:.4g} GMACs"
    if cost.mean_macs is None or cost.speedup is None:
        return f"{full} ({cost.counter} count)"
    than = f" than {cost.reference_calls} full calls" if cost.reference_calls else ""
    return f"mean call {cost.mean_macs / 1e9:.4g} GMACs, {full}: {cost.speedup:.2f}x fewer{than} ({cost.counter} count)"


def _quality(quality: Quality) -> str:
    interval = f" (95% {quality.ci95[0]:.4g} to {quality.ci95[1]:.4g})" if quality.ci95 else ""
    seeds = f"{quality.samples} {quality.seeds} samples, against {quality.reference}"
    return f"{quality.value:.4g} {quality.unit}".rstrip() + f"{interval}, {seeds}"
