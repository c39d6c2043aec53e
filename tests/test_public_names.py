"""Each package's `__all__` against what the package really holds."""

from __future__ import annotations

import importlib
import inspect
from types import ModuleType

import pytest

PACKAGES = [
    "deepcadence.schedules",
    "deepcadence.probe",
    "deepcadence.search",
    "deepcadence.reports",
    "deepcadence.cli",
]


def public_names(package: ModuleType) -> set[str]:
    """Names that a user sees: not underscored, and no modules but those that `__all__` wants."""
    names = {name: getattr(package, name) for name in {*vars(package), *package.__all__}}
    return {
        name
        for name, value in names.items()
        if name in package.__all__
        or not (name.startswith("_") or isinstance(value, ModuleType) or name in ("annotations", "TYPE_CHECKING"))
    }


@pytest.mark.parametrize("name", PACKAGES)
def test_all_names_what_is_there(name: str) -> None:
    package = importlib.import_module(name)
    assert set(package.__all__) == public_names(package)
    assert len(package.__all__) == len(set(package.__all__))


@pytest.mark.parametrize("name", PACKAGES)
def test_public_names_are_documented(name: str) -> None:
    package = importlib.import_module(name)
    undocumented = [
        public
        for public in package.__all__
        if inspect.isclass(getattr(package, public)) or inspect.isfunction(getattr(package, public))
        if not inspect.getdoc(getattr(package, public))
    ]
    assert not undocumented
    assert package.__doc__


@pytest.mark.parametrize("name", PACKAGES)
def test_public_names_come_from_deepcadence(name: str) -> None:
    package = importlib.import_module(name)
    values = [getattr(package, public) for public in package.__all__]
    made = [value for value in values if inspect.isclass(value) or inspect.isfunction(value)]
    assert not [value for value in made if not value.__module__.startswith("deepcadence.")]


def test_a_name_that_all_forgets_is_found() -> None:
    package = ModuleType("package")
    package.__all__ = ["kept"]  # type: ignore[attr-defined]
    package.kept = package.forgotten = len  # type: ignore[attr-defined]
    assert public_names(package) == {"kept", "forgotten"}
