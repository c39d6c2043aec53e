"""Real files, made hostile: bytes and JSON changed at random, the same for the same random generator."""

from __future__ import annotations

import copy
import json
import random
import re
import struct
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["mutate", "mutate_json", "mutate_safetensors"]

TOKENS = (
    b"NaN", b"-Infinity", b"1e999", b"-1", b"0", b"9" * 30, b"9" * 5000, b"2147483648", b"9223372036854775808", b"null",
    b"true", b'""', b"[]", b"{}", b'"full"', b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\\ud800",
    b"[" * 3000, b'{"a":' * 3000, b" " * 20_000, b"../../../etc/passwd", b"<script>alert(1)</script>", b"=1+1",
    b"\x1b]0;x\x07", b"\r\n", b'"calls": ["full"],', b"/*", b"'", b"$x$",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 7, 99_999, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 10**30, 10**400, 0.5, -0.0,
    1e-320, 1e308, float("nan"), float("inf"), "", "full", "x", "\ud800", "\x00", "\x1b[2J", "a" * 10_000,
    "<script>alert(1)</script>", "</script><img src=x onerror=alert(1)>", "=1+1", "../../../etc/passwd", "$\\frac{$",
    [], {}, [[]], [{}], ["full"], [0, 0], [float("nan")] * 3, {"": 0}, {"class": "x"}, {"0": 0},
)  # fmt: skip


def mutate(data: bytes, dice: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """`data` after one to four changes of its bytes; `others` are files of the same kind to take parts from."""
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        data = dice.choice(_CHANGES)(data, dice, others)
    return data


def mutate_json(text: bytes, dice: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """JSON with one to four of its values changed, or one time in three, and where it is no JSON, its bytes."""
    if dice.random() < 1 / 3:
        return mutate(text, dice, others)
    try:
        tree = json.loads(text)
    except ValueError:
        return mutate(text, dice, others)
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        tree = _changed(tree, dice)
    return json.dumps(tree).encode()  # with NaN, Infinity and lone surrogates, as Python writes them


def mutate_safetensors(data: bytes, dice: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """A safetensors file with a value of its header changed, or of the JSON in there, or its bytes."""
    if dice.random() < 1 / 3:
        return mutate(data, dice, others)
    (length,) = struct.unpack("<Q", data[:8])
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    metadata = header.get("__metadata__", {})
    match dice.randrange(4):
        case 0:
            header = _changed(header, dice)
        case 1 if metadata:
            key = dice.choice(sorted(metadata))
            metadata[key] = mutate_json(metadata[key].encode(), dice).decode("utf-8", "replace")
        case 2:
            body = _numbers(body, dice)
        case _:
            body = mutate(body, dice)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text) if dice.random() < 0.95 else dice.choice((0, 1, 2**40, 2**63))) + text + body


def _numbers(body: bytes, dice: random.Random) -> bytes:
    """One float32 replaced."""
    place = dice.randrange(len(body) // 4) * 4
    value = dice.choice((float("nan"), float("inf"), -float("inf"), -1.0, 1e-45, 3e38, 0.0, 1.0, 1.0000001))
    return body[:place] + struct.pack("<f", value) + body[place + 4 :]


def _changed(tree: Any, dice: random.Random) -> Any:
    """The tree with one node replaced, dropped, doubled, renamed or moved."""
    tree = copy.deepcopy(tree)
    places = _places(tree)
    if not places or dice.random() < 0.01:
        return dice.choice(VALUES)
    container, key = dice.choice(places)
    match dice.randrange(8):
        case 0:
            del container[key]
        case 1 if isinstance(container, dict):
            container[dice.choice(("", "x", "class_name", "__proto__", "a" * 300, "\x1b[2J", str(key).upper()))] = (
                container.pop(key)
            )
        case 1:
            container.extend(container[:100])
        case 2:
            other, name = dice.choice(places)
            container[key] = copy.deepcopy(other[name])
        case 3 if isinstance(container[key], int | float):
            container[key] = _scaled(container[key], dice.choice((-1, 0, 0.5, 2, 10**6, 1e300)))
        case 4 if isinstance(container[key], str):
            container[key] += dice.choice(("x", "\n", "\u2028", "<script>", "\x00", " ", "é"))
        case _:
            container[key] = copy.deepcopy(dice.choice(VALUES))
    return tree


def _scaled(value: float, factor: float) -> float:
    try:
        return value * factor
    except OverflowError:  # a whole number beyond a double's range
        return float("inf")


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """All (container, key) of a tree; of long lists 50 entries."""
    found: list[tuple[Any, Any]] = []
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict | list):
            keys = list(node) if isinstance(node, dict) else range(min(len(node), 50))
            found += [(node, key) for key in keys]
            waiting += [node[key] for key in keys]
    return found


def _span(data: bytes, dice: random.Random) -> tuple[int, int]:
    start = dice.randrange(len(data) + 1)
    return start, min(len(data), start + int(dice.expovariate(1 / 30)) + 1)


def _flip(data: bytes, dice: random.Random, _: Sequence[bytes]) -> bytes:
    changed = bytearray(data or b"\0")
    for _bit in range(dice.choice((1, 1, 3, 10))):
        changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def _delete(data: bytes, dice: random.Random, _: Sequence[bytes]) -> bytes:
    start, stop = _span(data, dice)
    return data[:start] + data[stop:]


def _double(data: bytes, dice: random.Random, _: Sequence[bytes]) -> bytes:
    start, stop = _span(data, dice)
    return data[:stop] + data[start:stop] * dice.choice((1, 1, 2, 200)) + data[stop:]


def _insert(data: bytes, dice: random.Random, _: Sequence[bytes]) -> bytes:
    place = dice.randrange(len(data) + 1)
    return data[:place] + dice.choice(TOKENS) + data[place:]


def _overwrite(data: bytes, dice: random.Random, _: Sequence[bytes]) -> bytes:
    start, stop = _span(data, dice)
    return data[:start] + dice.randbytes(stop - start) + data[stop:]


def _truncate(data: bytes, dice: random.Random, _: Sequence[bytes]) -> bytes:
    return data[: dice.randrange(len(data) + 1)]


def _number(data: bytes, dice: random.Random, _: Sequence[bytes]) -> bytes:
    """Another token where a number stands."""
    found = list(re.finditer(rb"-?\d[\d.e+-]*", data[:100_000]))
    if not found:
        return data
    match = dice.choice(found)
    return data[: match.start()] + dice.choice(TOKENS) + data[match.end() :]


def _splice(data: bytes, dice: random.Random, others: Sequence[bytes]) -> bytes:
    """The beginning of this file and the end of another."""
    other = dice.choice(others) if others else data
    return data[: dice.randrange(len(data) + 1)] + other[dice.randrange(len(other) + 1) :]


_CHANGES: tuple[Callable[[bytes, random.Random, Sequence[bytes]], bytes], ...] = (
    _flip, _delete, _double, _insert, _overwrite, _truncate, _number, _splice,
)  # fmt: skip
