"""Files of other caches: their text, or JSON made of their YAML."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from deepcadence.schedules import Imported

MAX_YAML_BYTES = 2**16
"""The largest YAML file that is read; cache-dit's configurations take a hundredth of it."""


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
    try:
        aliased = any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader))
        found = json.dumps(None if aliased else yaml.safe_load(text))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1} column {mark.column + 1}" if mark else "text"
        _refuse(source, place, "text that is not YAML", f"YAML ({getattr(error, 'problem', None) or 'plain text'})")
    except RecursionError:
        _refuse(source, "nesting", "lists or objects nested too deeply to read", "a configuration of cache-dit")
    except (TypeError, ValueError) as error:  # what JSON has no words for, such as a date
        _refuse(source, "a value", f"one that JSON does not have ({error})", "numbers, texts, lists and objects")
    if aliased:
        _refuse(source, "an alias (*)", "a part that stands for another one", "each part written out")
    return found


def _refuse(source: str, place: str, found: str, expected: str) -> NoReturn:
    from deepcadence.schedules import ScheduleError

    raise ScheduleError(f"{source}: {place}: found {found}, expected {expected}") from None
