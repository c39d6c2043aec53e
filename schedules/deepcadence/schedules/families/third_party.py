"""Families of other packages, found by entry point when no family here can serve a model."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points

from deepcadence.schedules.errors import UnsupportedModelError
from deepcadence.schedules.families.base import Family

GROUP = "deepcadence.families"


def third_party_families() -> Iterator[Family]:
    """A family of each entry point in the group "deepcadence.families", by name; loaded as it is asked for.

    Raises:
        UnsupportedModelError: one cannot be loaded; the message names its package.
    """
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        yield _load(entry)


def _load(entry: EntryPoint) -> Family:
    try:
        family = entry.load()()
    except Exception as error:
        raise _broken(entry, f"{type(error).__name__}: {error}") from error
    if not isinstance(family, Family):
        raise _broken(entry, f"it makes a {type(family).__name__}, which is no subclass of {Family.__module__}.Family")
    return family


def _broken(entry: EntryPoint, reason: str) -> UnsupportedModelError:
    package = "an unknown package" if entry.dist is None else f"the package {entry.dist.name} {entry.dist.version}"
    return UnsupportedModelError(
        f"the family '{entry.name}' ({entry.value}) of {package} cannot be used: {reason}; "
        "repair or uninstall that package"
    )
