"""What lies in the folder of a pipeline: nothing that leads out of it, runs code, or asks for absurd sizes."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NoReturn

from deepcadence.probe._source import check_sizes, read_json
from deepcadence.probe.errors import LoadError
from deepcadence.schedules.fields import describe, shortened

__all__ = ["check_contents", "check_places"]

_MAX_DEPTH = 10
_MAX_FILES = 50_000
_MAX_STEPS = 10**5

# Tables of tokens, which may be large; loaders take no settings from them. Matched whole: a name such as
# tokenizer.config.4.0.0.json can be that of a config.
_VOCABULARY = re.compile(r"(tokenizer(\.[\d.]+)?|vocab|added_tokens)\.json")
_WEIGHTS_INDEX = re.compile(r".*\.index(\..+)?\.json")  # diffusers and transformers put a variant in different places
_MODEL_CONFIG = re.compile(r"config(\..+)?\.json")
# Left by the machine that saved the tokenizer, in many published models; nothing reads the file.
_UNREAD = ("special_tokens_map_file",)


def check_places(place: Path) -> list[Path]:
    """All files in a pipeline's folder, but for hidden folders, without opening any.

    A link may lead to what is in the same folder. In a cache of the hub, where the files themselves are kept beside the
    folder, it may lead there.

    Raises:
        LoadError: a link leads elsewhere, something is not a regular file, or there is no end of files.
    """
    root = Path(os.path.realpath(place))
    found = []
    for path in _walk(place, _MAX_DEPTH):
        if path.is_symlink():
            _check_link(path, root)
        if path.is_dir():
            continue
        try:
            mode = path.stat().st_mode
        except OSError:  # a link to nothing: loaders find nothing there either
            continue
        if not stat.S_ISREG(mode):
            raise LoadError(f"{path}: found a pipe, a socket or a device, expected a regular file; remove it")
        found.append(path)
        if len(found) > _MAX_FILES:
            raise LoadError(f"{place}: found more than {_MAX_FILES} files, expected the folder of one pipeline")
    return found


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    """Everything in a folder, links unfollowed, hidden folders left out: no component can be in one."""
    if depth == 0:
        raise LoadError(
            f"{folder}: found more than {_MAX_DEPTH} folders in each other, expected a pipeline's one or two"
        )
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise LoadError(f"{folder}: cannot be read ({error.strerror or error})") from error
    for path in entries:
        if path.is_dir() and not path.is_symlink():
            if not path.name.startswith("."):
                yield from _walk(path, depth - 1)
        else:
            yield path


def _check_link(path: Path, root: Path) -> None:
    target = Path(os.path.realpath(path))
    if path.is_dir():  # what a folder holds is checked where it is, which must not be the top, or hidden
        within = target.relative_to(root).parts if target.is_relative_to(root) else ()
        allowed = bool(within) and not any(part.startswith(".") for part in within)
    else:
        allowed = any(target.is_relative_to(folder) for folder in (root, *_blobs(root)))
    if not allowed:
        raise LoadError(
            f"{path}: found a link that leads out of the model's folder, expected the file itself; if you trust what "
            "it leads to, put a copy in its place"
        )


def _blobs(root: Path) -> list[Path]:
    """Where a cache of the hub keeps the files of `models--owner--name/snapshots/revision`."""
    repository = root.parent.parent
    cached = root.parent.name == "snapshots" and repository.name.startswith("models--")
    return [repository / "blobs"] if cached else []


def check_contents(place: Path, files: Collection[Path], libraries: Collection[str]) -> None:
    """Refuse a pipeline's folder whose files ask for other files, for code, or for sizes that no model has.

    Args:
        place: the folder.
        files: the files in it, as `check_places` gives them.
        libraries: those that its index names, each of which diffusers would look for as a file of code.

    Raises:
        LoadError: as said, or a component is an adapter of a model elsewhere, or a pipeline.
    """
    for path in files:
        name = path.name.lower()  # some file systems tell no case apart
        if name.endswith(".py") and path.stem in libraries:
            raise LoadError(f"{path}: found code in place of {path.stem}; code that comes with a model is never run")
        if name.endswith(".json") and not _VOCABULARY.fullmatch(name):
            _check_json(path, name, top=path.parent == place)


def _check_json(path: Path, name: str, *, top: bool) -> None:
    if name == "adapter_config.json":
        raise LoadError(f"{path}: found an adapter of a model that lies elsewhere, expected a whole model")
    if name == "model_index.json" and not top:
        raise LoadError(f"{path}: found a pipeline inside the pipeline, expected models only; remove the file")
    try:
        content = read_json(path)
    except LoadError:
        if "config" in name or "index" in name:
            raise
        return  # no loader takes it for settings
    for key, value in _entries(content):
        _check_entry(path, key, value)
    if _WEIGHTS_INDEX.fullmatch(name):
        _check_weights_index(path, content.get("weight_map"))
    elif name == "scheduler_config.json":
        _check_sampler(path, content)
    elif _MODEL_CONFIG.fullmatch(name):
        check_sizes(content, str(path))


def _check_weights_index(path: Path, names: Any) -> None:
    for name in names.values() if isinstance(names, dict) else ():
        if not isinstance(name, str) or Path(name).name != name or "\\" in name:
            raise LoadError(f"{path}: weight_map: found {describe(name)}, expected a file in the same folder")


def _entries(content: Any) -> Iterator[tuple[str, Any]]:
    """All entries of all objects in a JSON value, at any depth."""
    left = [content]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            yield from value.items()
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)


def _check_entry(path: Path, key: str, value: Any) -> None:
    if key == "auto_map":
        _refuse(path, key, value, "no such entry: code that comes with a model is never run. Remove it if the model "
                "needs none; else load the pipeline yourself and give it to Workload(pipeline=...)")  # fmt: skip
    if key.endswith("attn_implementation") and isinstance(value, str) and "/" in value:
        _refuse(path, key, value, "an implementation that needs no code from the hub")
    if key.endswith(("_file", "_files")) and key not in _UNREAD:
        for name in _strings(value):
            if name in ("", ".", "..") or "/" in name or "\\" in name:
                _refuse(path, key, name, "the name of a file in the same folder; remove the entry if it is not needed")


def _strings(value: Any) -> list[str]:
    values = value if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else [value]
    return [one for one in values if isinstance(one, str)]


def _check_sampler(path: Path, content: dict[str, Any]) -> None:
    for key, value in content.items():
        counts = key.startswith("num_") or key.endswith("_steps")
        if counts and isinstance(value, int | float) and not abs(value) <= _MAX_STEPS:
            _refuse(path, key, value, f"{_MAX_STEPS} at most")
        # DPM-Solver's writes -Infinity, "no bound"; nothing can be allocated by an infinite number.
        if not (isinstance(value, float) and abs(value) == float("inf")):
            check_sizes({key: value}, str(path))


def _refuse(path: Path, key: str, found: Any, expected: str) -> NoReturn:
    raise LoadError(f"{path}: {shortened(key, 60)}: found {shortened(describe(found), 200)}, expected {expected}")
