"""The text of a schedule file: reading JSON without leniency, and writing the one canonical form."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from deepcadence.schedules.errors import ScheduleError

__all__ = ["MAX_BYTES", "canonical_json", "parse_json"]

MAX_BYTES = 4 * 2**20
"""The largest schedule file that is read, in bytes."""

_PER_LINE = 10


def parse_json(text: str | bytes, source: str) -> dict[str, Any]:
    """Parse a JSON object strictly: UTF-8, no duplicate keys, no NaN or infinity, no absurd size, depth or number.

    Raises:
        ScheduleError: names `source`, where in it, what was found and what was expected.
    """

    def refuse(place: str, found: str, expected: str) -> NoReturn:
        raise ScheduleError(f"{source}: {place}: found {found}, expected {expected}")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            refuse(f"key {json.dumps(twice)}", "it more than once in one object", "each key once")
        return result

    def whole(digits: str) -> int:
        if len(digits) > 40:
            refuse("a number", f"{digits[:20]}... with {len(digits)} digits", "a whole number below 2**63")
        return int(digits)

    def real(digits: str) -> float:
        value = float(digits)
        if not math.isfinite(value):
            refuse("a number", digits[:40], "a number within the range of a double")
        return value

    def constant(name: str) -> NoReturn:
        refuse("a number", name, "a finite number, as JSON demands")

    if len(text) > MAX_BYTES:
        refuse("size", f"more than {MAX_BYTES} bytes", f"at most {MAX_BYTES}, as a schedule has; is this another file?")
    try:
        decoded = text.decode("utf-8") if isinstance(text, bytes) else text
    except UnicodeDecodeError as error:
        refuse(f"byte {error.start}", f"0x{error.object[error.start]:02x}, which is not UTF-8", "JSON text in UTF-8")
    if decoded.startswith("\ufeff"):
        refuse("byte 0", "a byte-order mark", "UTF-8 without one; save the file again as plain UTF-8")
    try:
        data = json.loads(decoded, object_pairs_hook=unique, parse_int=whole, parse_float=real, parse_constant=constant)
    except json.JSONDecodeError as error:
        refuse(f"line {error.lineno} column {error.colno}", "text that is not JSON", f"JSON ({error.msg})")
    except RecursionError:
        refuse("nesting", "lists or objects nested too deeply to read", "a schedule, which is at most four deep")
    if not isinstance(data, dict):
        refuse("top level", f"JSON that is not an object ({type(data).__name__})", "an object with the key calls")
    return data


def canonical_json(value: Any) -> str:
    """Write JSON data in the canonical form of schedule files, ending with a newline.

    Keys are sorted, two spaces per level, ASCII only. A list of up to ten plain values stands on one line; a longer
    one has ten values on each line, so that entry i keeps its line and column, and a change shows as one line.
    """
    return _write(value, "") + "\n"


def _write(value: Any, indent: str) -> str:
    inner = indent + "  "
    if isinstance(value, Mapping):
        if not value:
            return "{}"
        entries = [f"{inner}{json.dumps(key)}: {_write(value[key], inner)}" for key in sorted(value)]
        return "{\n" + ",\n".join(entries) + f"\n{indent}}}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        if any(isinstance(entry, Mapping | list | tuple) for entry in value):
            return "[\n" + ",\n".join(inner + _write(entry, inner) for entry in value) + f"\n{indent}]"
        words = [_write(entry, inner) for entry in value]
        if len(words) <= _PER_LINE:
            return f"[{', '.join(words)}]"
        lines = [", ".join(words[start : start + _PER_LINE]) for start in range(0, len(words), _PER_LINE)]
        return "[\n" + ",\n".join(inner + line for line in lines) + f"\n{indent}]"
    return json.dumps(value, allow_nan=False)
