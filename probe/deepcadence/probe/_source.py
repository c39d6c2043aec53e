"""Where a model is: the bundled one, a folder, or a hub id; and what its `model_index.json` asks to load."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepcadence.probe.errors import LoadError

__all__ = ["check_index", "read_json", "resolve"]

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_LIBRARIES = ("diffusers", "transformers")
_MAX_BYTES = 2**24


def resolve(model: str | Path) -> Path | str:
    """The folder or file that `model` names, or the hub id unchanged.

    Raises:
        LoadError: it is none of these.
    """
    from deepcadence.probe import bundled

    if str(model) == "bundled":
        return bundled.path()
    place = Path(model).expanduser()
    if place.exists():
        return place
    if isinstance(model, str) and _HUB_ID.fullmatch(model):
        return model
    raise LoadError(
        f"found no folder {str(model)!r}; expected a folder, 'bundled', or a hub id that looks like 'owner/name'"
    )


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        LoadError: it cannot be read, is far too large, or holds something else.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise LoadError(f"{path}: found {path.stat().st_size} bytes, expected a config of a few thousand")
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise LoadError(f"{path}: found no valid JSON ({error}), expected the config of a model") from error
    except OSError as error:
        raise LoadError(f"{path}: cannot be read ({error.strerror or error})") from error
    if not isinstance(content, dict):
        raise LoadError(f"{path}: found a JSON {type(content).__name__}, expected an object")
    return content


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
        own_code = isinstance(place, Path) and (place / key / f"{library}.py").exists()
        if own_code or not (library in _LIBRARIES or hasattr(pipelines, library)):
            _refuse(place, key, value, f"a class of {' or '.join(_LIBRARIES)}")


def _refuse(place: Path | str, key: str, found: Any, expected: str) -> None:
    raise LoadError(
        f"{place}: model_index.json: {key}: found {found!r}, expected {expected}; code that comes with a model is "
        "never run. If you trust it, load the pipeline yourself and give it to Workload(pipeline=...)"
    )
