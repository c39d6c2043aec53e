"""Packages that bring a family of their own, installed for one test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Install = Callable[..., Path]


@pytest.fixture
def install_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """`install_package(name, value)`: what pip leaves behind for a package whose family is `value`, on `sys.path`."""

    def install(name: str, value: str) -> Path:
        folder = tmp_path / name
        info = folder / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[deepcadence.families]\n{name} = {value}\n")
        monkeypatch.syspath_prepend(folder)
        return folder

    return install


@pytest.fixture
def toy_package(install_package: Install) -> None:
    """The package of tests/schedules/toy_family.py."""
    install_package("toy", "tests.schedules.toy_family:ToyFamily")
