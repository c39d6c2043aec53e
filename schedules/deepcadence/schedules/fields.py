"""The kinds of value that a schedule file may hold: strict, and with errors that say what was expected."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, FailFast, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

__all__ = ["MANY_CUTS", "MAX_ALPHA", "MAX_CALLS", "MAX_CUT", "Alpha", "Call", "Count", "Cut", "CutKey", "Number",
           "Order", "PositiveNumber", "Record", "Several", "Sha256", "Text", "Threshold", "cuts_text", "describe",
           "problem", "shortened", "spelled_out"]  # fmt: skip

MAX_CALLS = 100_000
"""The most calls that a schedule may have: a bound on nonsense, far above any sampler."""

MAX_CUT = 9_999
"""The largest cut number, likewise."""

MANY_CUTS = 60
"""More cuts than any model has: of more, figures and sentences show some."""

MAX_ALPHA = 2
"""The largest weight of an extrapolation: beyond, errors only grow."""

_MAX_WHOLE = 2**63 - 1


def problem(expected: str, place: str | None = None, found: str | None = None) -> PydanticCustomError:
    """Return what a validator raises: `expected` becomes the end of the sentence that the user reads.

    `place` and `found` replace the field that was being validated and its value.
    """
    context = {"expected": expected} | ({"place": place} if place else {}) | ({"found": found} if found else {})
    return PydanticCustomError("deepcadence", "expected {expected}", context)


def describe(value: object) -> str:
    """Describe a value that was found, in JSON's words, on one line and short."""
    if isinstance(value, dict):
        return "an object" if value else "an empty object"
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    if value is None or isinstance(value, bool | float | int | str):
        try:
            text = json.dumps(value)
        except ValueError:  # an integer with more digits than Python prints
            return "a very large number"
    else:
        text = f"{type(value).__name__} {value!r}"
    return shortened(text, 60)


def shortened(text: str, most: int) -> str:
    """The text, or its beginning and "...", as an error quotes what may be of any length."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def spelled_out(text: str) -> str:
    """The text with an escape in the place of each character that cannot be printed, line ends included."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def cuts_text(cuts: Collection[int]) -> str:
    """`cut 0`, `cuts 0, 2`; of many cuts how many there are."""
    if len(cuts) > MANY_CUTS:
        return f"{len(cuts)} cuts from {min(cuts)} to {max(cuts)}"
    return ("cut " if len(cuts) == 1 else "cuts ") + ", ".join(map(str, cuts))


def _whole(low: int, high: int, expected: str) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if type(value) is int and low <= value <= high:
            return value
        raise problem(expected)

    return check


def _call(value: Any) -> Literal["full"] | int:
    if value == "full" and isinstance(value, str):
        return "full"
    if type(value) is int and 0 <= value <= MAX_CUT:
        return value
    raise problem(f'"full" or a cut (a whole number from 0 to {MAX_CUT})')


def _cut_key(value: Any) -> int:
    if isinstance(value, str) and re.fullmatch(r"0|[1-9][0-9]{0,3}", value):
        return int(value)
    if type(value) is int and 0 <= value <= MAX_CUT:
        return value
    raise problem('a cut as the key, such as "2"')


def _number(value: Any) -> int | float:
    if type(value) is int and abs(value) <= _MAX_WHOLE:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    raise problem("a finite number")


def _positive(value: Any) -> int | float:
    if (type(value) is int or isinstance(value, float)) and value > 0:
        return _number(value)
    raise problem("a finite number above 0")


def _alpha(value: Any) -> int | float:
    if (type(value) is int or isinstance(value, float)) and 0 <= value <= MAX_ALPHA:
        return _number(value)
    raise problem(f"a number from 0 to {MAX_ALPHA}")


def _threshold(value: Any) -> int | float:
    if (type(value) is int or isinstance(value, float)) and value >= 0:
        return _number(value)
    raise problem("a finite number, 0 or above")


def _text(value: Any) -> str:
    if isinstance(value, str) and value.isprintable():
        return value
    raise problem("text on one line")


def _sha256(value: Any) -> str:
    if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value):
        return value
    raise problem("a SHA-256 as 64 hexadecimal digits in lower case")


def _schema(**keys: Any) -> WithJsonSchema:
    return WithJsonSchema(keys)


_CUT_SCHEMA = {"type": "integer", "minimum": 0, "maximum": MAX_CUT}

Call: TypeAlias = Annotated[
    Literal["full"] | int, PlainValidator(_call), _schema(anyOf=[{"const": "full", "type": "string"}, _CUT_SCHEMA])
]
"""One entry of `Schedule.calls`: "full", or the cut at which to reuse."""

Cut: TypeAlias = Annotated[
    int, PlainValidator(_whole(0, MAX_CUT, f"a cut (a whole number from 0 to {MAX_CUT})")), WithJsonSchema(_CUT_SCHEMA)
]
CutKey: TypeAlias = Annotated[int, PlainValidator(_cut_key), _schema(type="string", pattern="^(0|[1-9][0-9]{0,3})$")]
Count: TypeAlias = Annotated[
    int,
    PlainValidator(_whole(1, _MAX_WHOLE, f"a whole number from 1 to {_MAX_WHOLE}")),
    _schema(type="integer", minimum=1, maximum=_MAX_WHOLE),
]
Number: TypeAlias = Annotated[int | float, PlainValidator(_number), _schema(type="number")]
PositiveNumber: TypeAlias = Annotated[
    int | float, PlainValidator(_positive), _schema(type="number", exclusiveMinimum=0)
]
Order: TypeAlias = Annotated[int, PlainValidator(_whole(1, 2, "1 or 2")), _schema(enum=[1, 2])]
Alpha: TypeAlias = Annotated[int | float, PlainValidator(_alpha), _schema(type="number", minimum=0, maximum=MAX_ALPHA)]
Threshold: TypeAlias = Annotated[int | float, PlainValidator(_threshold), _schema(type="number", minimum=0)]
Text: TypeAlias = Annotated[str, PlainValidator(_text), _schema(type="string")]
Sha256: TypeAlias = Annotated[str, PlainValidator(_sha256), _schema(type="string", pattern="^[0-9a-f]{64}$")]


class _FirstOnly(FailFast):
    """`FailFast` that can be hashed, as a type beside `None` must be."""

    __hash__ = object.__hash__


T = TypeVar("T")
Several: TypeAlias = Annotated[tuple[T, ...], _FirstOnly()]
"""A list of any length, of which the first wrong entry is told: the errors of a million would fill the memory."""


class Record(BaseModel):
    """Base of everything in a schedule file: frozen, and without room for unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, use_attribute_docstrings=True)
