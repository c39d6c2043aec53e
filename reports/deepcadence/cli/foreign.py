"""Files of other caches: their text, or JSON made of their YAML."""

from __future__ import annotations

import json
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from deepcadence.schedules import Imported

MAX_YAML_BYTES = 2**16
"""The largest YAML file that is read; cache-dit's configurations take a hundredth of it."""

MAX_DEPTH = 50
"""The most lists and objects in each other; in cache-dit's configurations there are three."""

MAX_BRACKETS = 200
"""The most brackets that may be open at a place of the text: the time of the loader grows with their square."""


def read_foreign(file: Path, origin: Any, cut: int = 0) -> Imported:
    """The schedule in a file of another cache; see `import_schedule`. YAML is told by the name of the file.

    Raises:
        ScheduleError: it is no such file.
        OSError: it cannot be read.
    """
    from deepcadence.schedules import import_schedule, read_at_most
    from deepcadence.schedules.text import MAX_BYTES

    content = read_at_most(file, MAX_BYTES)
    is_yaml = origin == "cache-dit" and file.suffix.lower() in (".yaml", ".yml")
    text = _json_of_yaml(content, str(file)) if is_yaml else content
    return import_schedule(text, origin, cut=cut, source=str(file))


def _json_of_yaml(text: bytes, source: str) -> str:
    """The same data as JSON. Aliases, by which a small text means a large one, are refused."""
    import yaml

    if len(text) > MAX_YAML_BYTES:
        _refuse(source, "size", f"more than {MAX_YAML_BYTES} bytes", "a configuration of cache-dit, which is smaller")
    if _open_brackets(text) > MAX_BRACKETS:
        _refuse_nesting(source)
    try:
        _check_events(text, source)
        return json.dumps(yaml.safe_load(text))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1} column {mark.column + 1}" if mark else "text"
        _refuse(source, place, "text that is not YAML", f"YAML ({getattr(error, 'problem', None) or 'plain text'})")
    except (TypeError, ValueError, OverflowError) as error:  # what JSON has no words for, such as a date
        _refuse(source, "a value", f"one that JSON does not have ({error})", "numbers, texts, lists and objects")
    except (LookupError, AttributeError):  # how the loader ends at `!!bool x` and `!!int ""`
        _refuse(source, "a value", "one that is not what its tag (!!) says", "numbers, texts, lists and objects")


def _open_brackets(text: bytes) -> int:
    """The most brackets that are open anywhere, those in comments counted as well: the loader is slow with many."""
    steps = ((each in b"[{") - (each in b"]}") for each in text if each in b"[]{}")
    return max(accumulate(steps), default=0)


def _check_events(text: bytes, source: str) -> None:
    """Refuse aliases, and what is nested too deeply, before anything is made of them."""
    import yaml

    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            _refuse_nesting(source)
        if isinstance(event, yaml.AliasEvent):
            _refuse(source, "an alias (*)", "a part that stands for another one", "each part written out")


def _refuse_nesting(source: str) -> NoReturn:
    found = f"lists or objects nested too deeply to read, more than {MAX_DEPTH} in each other"
    _refuse(source, "nesting", found, "a configuration of cache-dit")


def _refuse(source: str, place: str, found: str, expected: str) -> NoReturn:
    from deepcadence.schedules import ScheduleError

    raise ScheduleError(f"{source}: {place}: found {found}, expected {expected}") from None
