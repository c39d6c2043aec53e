"""Where a model is: the bundled one, a folder, or a hub id; and what its `model_index.json` asks to load."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepcadence.probe.errors import LoadError
from deepcadence.schedules import read_at_most
from deepcadence.schedules.fields import describe, shortened

__all__ = ["check_files", "check_index", "check_sizes", "read_json", "resolve"]

_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_LIBRARIES = ("diffusers", "transformers")
_MAX_BYTES = 2**24
_MAX_NUMBER = 10**8


def resolve(model: str | Path) -> Path | str:
    """The folder or file that `model` names, or the hub id unchanged.

    Raises:
        LoadError: it is none of these.
    """
    from deepcadence.probe import bundled

    if str(model) == "bundled":
        return bundled.path()
    place = Path(model).expanduser()
    if _exists(place):
        return place
    if isinstance(model, str) and _HUB_ID.fullmatch(model):
        return model
    found = shortened(repr(str(model)), 200)
    raise LoadError(f"found no folder {found}; expected a folder, 'bundled', or a hub id that looks like 'owner/name'")


def _exists(path: Path) -> bool:
    """Whether there is such a file or folder; False for what none could be called, such as a name that is too long."""
    return os.path.exists(path)  # noqa: PTH110 - `Path.exists` raises there


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        LoadError: it cannot be read, is far too large, or holds something else.
    """
    try:
        text = read_at_most(path, _MAX_BYTES)
        if len(text) > _MAX_BYTES:
            raise LoadError(f"{path}: found more than {_MAX_BYTES} bytes, expected a config of a few thousand")
        content = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise LoadError(f"{path}: found no valid JSON ({error}), expected the config of a model") from error
    except OSError as error:
        raise LoadError(f"{path}: cannot be read ({error.strerror or error})") from error
    if not isinstance(content, dict):
        raise LoadError(f"{path}: found a JSON {type(content).__name__}, expected an object")
    return content


def check_sizes(content: Any, place: str) -> None:
    """Raise `LoadError` for a number that no model has: what is built from it could fill memory."""
    if isinstance(content, dict):
        for key, value in content.items():
            check_sizes(value, f"{place}: {key}")
    elif isinstance(content, list):
        for value in content:
            check_sizes(value, place)
    elif isinstance(content, int | float) and not abs(content) <= _MAX_NUMBER:
        raise LoadError(f"{place}: found {describe(content)}, expected a number that a model could have")


def check_index(index: Mapping[str, Any], place: Path | str, pipelines: Any) -> None:
    """Refuse a `model_index.json` that would run code from outside diffusers and transformers.

    Args:
        index: the content of the file.
        place: the folder or hub id, for messages.
        pipelines: the module `diffusers.pipelines`, which has some components of its own.

    Raises:
        LoadError: it names a class of its own, or a component from another library.
    """
    name = index.get("_class_name")
    if not isinstance(name, str):
        _refuse(place, "_class_name", name, "the name of a pipeline class of diffusers")
    for key, value in index.items():
        if key.startswith("_") or not (isinstance(value, list) and len(value) == 2):
            continue
        library, class_name = value
        if library is None and class_name is None:
            continue
        if not (isinstance(library, str) and isinstance(class_name, str)):
            _refuse(place, key, value, "a library and a class")
        own_code = isinstance(place, Path) and _exists(place / key / f"{library}.py")
        if own_code or not (library in _LIBRARIES or hasattr(pipelines, library)):
            _refuse(place, key, value, f"a class of {' or '.join(_LIBRARIES)}")


def check_files(place: Path) -> None:
    """Refuse a pipeline's folder whose files lead out of it, or ask for sizes that no model has.

    Raises:
        LoadError: a component is an adapter of a model elsewhere, an index of weights names files in other folders, or
            a config holds an absurd number.
    """
    for path in sorted(place.glob("*/*.json")):
        if path.name == "adapter_config.json":
            raise LoadError(f"{path}: found an adapter of a model that lies elsewhere, expected a whole model")
        if path.name.endswith(".index.json"):
            names = read_json(path).get("weight_map")
            for name in names.values() if isinstance(names, dict) else ():
                if not isinstance(name, str) or Path(name).name != name:
                    raise LoadError(f"{path}: weight_map: found {describe(name)}, expected a file in the same folder")
        elif path.name == "config.json":
            check_sizes(read_json(path), str(path))
        elif path.name == "scheduler_config.json":
            # DPM-Solver's writes -Infinity, "no bound"; nothing can be allocated by an infinite number.
            check_sizes({key: value for key, value in read_json(path).items() if not _infinite(value)}, str(path))


def _infinite(value: Any) -> bool:
    return isinstance(value, float) and math.isinf(value)


def _refuse(place: Path | str, key: str, found: Any, expected: str) -> None:
    raise LoadError(
        f"{place}: model_index.json: {shortened(key, 60)}: found {shortened(repr(found), 200)}, expected {expected}; "
        "code that comes with a model is never run. If you trust it, load the pipeline yourself and give it to "
        "Workload(pipeline=...)"
    )
