"""Turning pydantic's errors into sentences: file, place in it, what was found, what was expected."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from deepcadence.schedules.errors import ScheduleError
from deepcadence.schedules.fields import describe

__all__ = ["place_of", "schedule_error"]

_SHOWN = 5
_LONGEST_KEY = 60


def place_of(location: Iterable[str | int]) -> str:
    """Write a place in a JSON file as a path: ("quality", 0, "ci95") is `quality[0].ci95`."""
    path = ""
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
        elif step == "[key]":
            continue
        elif step.isidentifier() and len(step) <= _LONGEST_KEY:
            path += f".{step}" if path else step
        else:
            path += f"[{describe(step)}]"
    return path or "top level"


def schedule_error(source: str, error: ValidationError, keys: Mapping[str, list[str]]) -> ScheduleError:
    """Return the error to raise for `error`, with up to five of its problems, each on a line of its own.

    `keys` gives the known keys of each section, "" being the top level.
    """
    problems = error.errors(include_url=False)
    lines = [f"{source}: {_sentence(problem, keys)}" for problem in problems[:_SHOWN]]
    if len(problems) > _SHOWN:
        lines.append(f"{source}: and {len(problems) - _SHOWN} more")
    return ScheduleError("\n".join(lines))


def _sentence(problem: Any, keys: Mapping[str, list[str]]) -> str:
    context, location, value = problem.get("ctx", {}), problem["loc"], problem["input"]
    place = context.get("place") or place_of(location)
    section = str(location[0]) if len(location) > 1 else ""
    known = ", ".join(keys.get(section, []))
    match problem["type"]:
        case "missing":
            return f"{place}: found nothing, expected this key to be there"
        case "extra_forbidden":
            return f"{place}: found an unknown key, expected {f'only {known}' if known else 'no such key'}"
        case "deepcadence":
            found = context.get("found") or describe(location[-2] if location[-1:] == ("[key]",) else value)
            return f"{place}: found {found}, expected {context['expected']}"
        case "literal_error":
            expected = context["expected"].replace("'", '"')
        case "model_type" | "dict_type":
            expected = "an object"
        case "tuple_type":
            expected = "a list"
        case "too_short" | "too_long":
            expected = f"{context.get('min_length', context.get('max_length'))} entries"
        case _:
            expected = json.dumps(problem["msg"])
    return f"{place}: found {describe(value)}, expected {expected}"
