"""The text of a schedule file: reading JSON without leniency, and writing the one canonical form."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from deepcadence.schedules.errors import ScheduleError
from deepcadence.schedules.fields import describe

__all__ = ["MAX_BYTES", "canonical_json", "parse_json", "unique_keys"]

MAX_BYTES = 4 * 2**20
"""The largest schedule file that is read, in bytes."""

_PER_LINE = 10
_MAX_KEYS = 20_000  # of one object; the cuts of a model are below 10,000
_MAX_DIGITS = 40


def parse_json(text: str | bytes, source: str) -> dict[str, Any]:
    """Parse a JSON object strictly: UTF-8, no duplicate keys, no NaN or infinity, no absurd size, depth or number.

    Raises:
        ScheduleError: names `source`, where in it, what was found and what was expected.
    """
    rules = _Rules(source)
    if len(text) > MAX_BYTES:
        rules.refuse("size", f"more than {MAX_BYTES} bytes", "a schedule, which is smaller; is this another file?")
    decoded = rules.decode(text) if isinstance(text, bytes) else text
    if decoded.startswith("\ufeff"):
        rules.refuse("byte 0", "a byte-order mark", "UTF-8 without one; save the file again as plain UTF-8")
    try:
        data = json.loads(
            decoded,
            object_pairs_hook=rules.unique,
            parse_int=rules.whole,
            parse_float=rules.real,
            parse_constant=rules.constant,
        )
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        rules.refuse(place, "text that is not JSON", f"JSON ({error.msg.lower()})")
    except RecursionError:
        rules.refuse("nesting", "lists or objects nested too deeply to read", "a schedule, which is at most four deep")
    if not isinstance(data, dict):
        rules.refuse("top level", describe(data), "an object with the keys format, version and calls")
    return data


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, as `object_pairs_hook` of `json.loads`: each key once, and not millions of them.

    Raises:
        ValueError: it is another.
    """
    if len(pairs) > _MAX_KEYS:
        raise ValueError(f"found {len(pairs)} keys in one object, expected at most {_MAX_KEYS}")
    result = dict(pairs)
    if len(result) < len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"key {describe(twice)}: found it more than once in one object, expected each key once")
    return result


class _Rules:
    """What JSON leaves open and a schedule file does not."""

    def __init__(self, source: str) -> None:
        self._source = source

    def refuse(self, place: str, found: str, expected: str) -> NoReturn:
        raise ScheduleError(f"{self._source}: {place}: found {found}, expected {expected}") from None

    def decode(self, text: bytes) -> str:
        try:
            return text.decode("utf-8")
        except UnicodeDecodeError as error:
            self.refuse(f"byte {error.start}", f"0x{text[error.start]:02x}, which is not UTF-8", "JSON text in UTF-8")

    def unique(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        try:
            return unique_keys(pairs)
        except ValueError as error:
            raise ScheduleError(f"{self._source}: {error}") from None

    def whole(self, digits: str) -> int:
        if len(digits) > _MAX_DIGITS:
            self.refuse("a number", f"{digits[:20]}... of {len(digits)} digits", "a whole number below 2**63")
        return int(digits)

    def real(self, digits: str) -> float:
        value = float(digits)
        if not math.isfinite(value):
            self.refuse("a number", digits[:40], "a number within the range of a double")
        return value

    def constant(self, name: str) -> NoReturn:
        self.refuse("a number", name, "a finite number, as JSON demands")


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
