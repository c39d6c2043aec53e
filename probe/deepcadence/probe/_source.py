"""Where a model is: the bundled one, a folder, or a hub id; and what its `model_index.json` asks to load."""

from __future__ import annotations

import importlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from deepcadence.probe.errors import LoadError
from deepcadence.schedules import read_at_most
from deepcadence.schedules.fields import describe, shortened

__all__ = ["check_index", "check_sizes", "component_class", "components", "read_json", "resolve"]

_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_LIBRARIES = ("diffusers", "transformers")
_BASES = {  # of what may be a component; a pipeline, which would load components of its own, has none of them
    "ModelMixin",
    "SchedulerMixin",
    "PreTrainedModel",
    "PreTrainedTokenizerBase",
    "FeatureExtractionMixin",
    "ImageProcessingMixin",
    "ProcessorMixin",
}
_MAX_BYTES = 2**24
_MAX_NUMBER = 10**8
_MAX_DEPTH = 50


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
    for where, value in _numbers(content, place, _MAX_DEPTH):
        if not abs(value) <= _MAX_NUMBER:
            raise LoadError(f"{where}: found {describe(value)}, expected a number that a model could have")


def _numbers(content: Any, place: str, depth: int) -> Iterator[tuple[str, float]]:
    """All numbers in a config, each with the place where it is."""
    if depth == 0:
        raise LoadError(f"{place}: found more than {_MAX_DEPTH} levels, expected the config of a model")
    if isinstance(content, dict):
        for key, value in content.items():
            yield from _numbers(value, f"{place}: {shortened(key, 60)}", depth - 1)
    elif isinstance(content, list):
        for value in content:
            yield from _numbers(value, place, depth - 1)
    elif isinstance(content, int | float):
        yield place, content


def check_index(index: Mapping[str, Any], place: Path | str, pipelines: Any) -> None:
    """Refuse a `model_index.json` that would run code from outside diffusers and transformers.

    Args:
        index: the content of the file.
        place: the folder or hub id, for messages.
        pipelines: the module `diffusers.pipelines`, which has some components of its own.

    Raises:
        LoadError: it names a class of its own, a component from another library or of another kind than models and
            what comes with them, a folder elsewhere, or a pipeline that fetches others.
    """
    name = index.get("_class_name")
    if not isinstance(name, str):
        _refuse(place, "_class_name", name, "the name of a pipeline class of diffusers")
    if getattr(getattr(pipelines, name, None), "_load_connected_pipes", False):
        _refuse(place, "_class_name", name, "a pipeline that does not fetch others, which its README.md names")
    for key, (library, class_name) in components(index).items():
        value = [library, class_name]
        if not (isinstance(library, str) and isinstance(class_name, str)):
            _refuse(place, key, value, "a library and a class")
        if not key.isidentifier():
            _refuse(place, key, value, "the name of a component, which is that of its folder")
        own_code = isinstance(place, Path) and _exists(place / key / f"{library}.py")
        if own_code or not (library in _LIBRARIES or hasattr(pipelines, library)):
            _refuse(place, key, value, f"a class of {' or '.join(_LIBRARIES)}")
        # Some versions of diffusers take FlaxThis for This.
        if not all(_is_component(component_class(library, one, pipelines)) for one in _spellings(class_name)):
            _refuse(place, key, value, "a model, a sampler, a tokenizer or a processor")


def components(index: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The library and the class of each component that an index asks to load, as it says them."""
    return {
        key: (value[0], value[1])
        for key, value in index.items()
        if not key.startswith("_") and isinstance(value, list) and len(value) == 2 and value != [None, None]
    }


def component_class(library: str, name: str, pipelines: Any) -> Any:
    """What diffusers would load a component with; None for what is not installed or not known, which it refuses."""
    try:
        module = getattr(pipelines, library) if hasattr(pipelines, library) else importlib.import_module(library)
        return getattr(module, name)
    except (AttributeError, ImportError, RuntimeError):  # transformers' way of saying what an import lacks
        return None


def _spellings(name: str) -> set[str]:
    return {name, name.removeprefix("Flax")}


def _is_component(found: Any) -> bool:
    if found is None or type(found).__name__ == "DummyObject":  # diffusers says what is to be installed for it
        return True
    return isinstance(found, type) and any(base.__name__ in _BASES for base in found.__mro__)


def _refuse(place: Path | str, key: str, found: Any, expected: str) -> NoReturn:
    raise LoadError(
        f"{place}: model_index.json: {shortened(key, 60)}: found {shortened(repr(found), 200)}, expected {expected}; "
        "code that comes with a model is never run. If you trust it, load the pipeline yourself and give it to "
        "Workload(pipeline=...)"
    )
