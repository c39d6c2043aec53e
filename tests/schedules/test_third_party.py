"""Families of other packages: found by entry point, loaded when they are needed, named when they are broken."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from deepcadence.probe import count_macs
from deepcadence.schedules import UnsupportedModelError, cached, family_of, model_info, register_family, uniform
from tests import tiny
from tests.schedules.conftest import Install
from tests.schedules.toy_family import ToyDenoiser, ToyFamily

ROOT = Path(__file__).parents[2]


def test_without_the_package_the_model_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="ToyDenoiser cannot be cached"):
        family_of(ToyDenoiser())


def test_with_the_package_it_is_served(toy_package: None) -> None:
    family = family_of(ToyDenoiser())
    assert type(family) is ToyFamily
    with pytest.raises(UnsupportedModelError, match="toy: it has no middle and last layer"):
        family_of(nn.Linear(2, 2))


@torch.no_grad()
def test_it_runs_under_a_schedule(toy_package: None) -> None:
    model = ToyDenoiser()
    inputs = [family_of(model).example_inputs(model, batch=2) for _ in range(2)]
    expected = [model(**each) for each in inputs]
    with cached(model, uniform(4, 2, 0)) as run:
        assert torch.equal(model(**inputs[0]), expected[0])
        assert torch.equal(model(**inputs[0]), expected[0])
        model(**inputs[0])
        assert not torch.equal(model(**inputs[1]), expected[1])
    assert (run.stats.full, run.stats.partial, run.stats.forced) == (2, 2, ())
    assert torch.equal(model(**inputs[1]), expected[1])


def test_its_macs_are_counted(toy_package: None) -> None:
    model = ToyDenoiser()
    macs = count_macs(model)
    ends = 16 * 16 * (8 * 3 * 9 + 3 * 16)
    assert macs.partial == {0: ends}
    assert macs.full == ends + 16 * 16 * 8 * 8 * 9
    assert macs.sample_shape == (3, 16, 16)
    assert model_info(model, macs.layers).config_sha256 is None


def test_a_missing_module_is_an_error_that_names_the_package(install_package: Install) -> None:
    install_package("rotten", "rotten_family:Family")
    with pytest.raises(UnsupportedModelError, match=r"'rotten'.*the package rotten 1\.0.*ModuleNotFoundError"):
        family_of(ToyDenoiser())


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise RuntimeError('boom')", "RuntimeError: boom"),
        ("Family = None", "TypeError"),
        ("Family = dict", "makes a dict, which is no subclass of"),
        ("from deepcadence.schedules import Family", "TypeError: Can't instantiate abstract class Family"),
    ],
)
def test_a_broken_family_is_an_error_that_names_the_package(
    install_package: Install, monkeypatch: pytest.MonkeyPatch, source: str, reason: str
) -> None:
    folder = install_package("rotten", "rotten_family:Family")
    (folder / "rotten_family.py").write_text(source)
    monkeypatch.delitem(sys.modules, "rotten_family", raising=False)
    with pytest.raises(UnsupportedModelError, match=rf"the package rotten 1\.0 cannot be used: .*{reason}"):
        family_of(ToyDenoiser())
    sys.modules.pop("rotten_family", None)


def test_a_broken_family_does_not_disturb_models_that_are_known(install_package: Install) -> None:
    install_package("rotten", "rotten_family:Family")
    assert family_of(tiny.unet2d()).name == "unet"


@pytest.mark.parametrize(("use", "loaded"), [("", False), ("families.family_of(torch.nn.Linear(1, 1))", True)])
def test_importing_the_runtime_loads_no_family(install_package: Install, use: str, loaded: bool) -> None:
    folder = install_package("traced", "traced_family:Family")
    (folder / "traced_family.py").write_text("import sys\nsys.exit('loaded')")
    program = (
        f"import sys, torch; sys.path.insert(0, {str(folder)!r})\nfrom deepcadence.schedules import families\n{use}"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert ("loaded" in done.stderr) == loaded, done.stderr


def test_a_family_is_registered_for_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepcadence.schedules.families._registered", {})
    first, second = ToyFamily(), ToyFamily()
    register_family(first)
    assert family_of(ToyDenoiser()) is first
    register_family(second)
    assert family_of(ToyDenoiser()) is second
    assert family_of(tiny.unet2d()).name == "unet"
    with pytest.raises(UnsupportedModelError, match=r"ToyFamily.*expected an instance of .*\.Family"):
        register_family(ToyFamily)  # type: ignore[arg-type]


def test_a_registered_family_comes_before_those_of_packages(
    monkeypatch: pytest.MonkeyPatch, install_package: Install
) -> None:
    monkeypatch.setattr("deepcadence.schedules.families._registered", {})
    install_package("rotten", "rotten_family:Family")
    register_family(ToyFamily())
    assert family_of(ToyDenoiser()).name == "toy"


def test_the_page_shows_the_very_file() -> None:
    page = (ROOT / "docs" / "how-to" / "add-a-family.md").read_text()
    source = (ROOT / "tests" / "schedules" / "toy_family.py").read_text()
    assert f"```python\n{source}```\n" in page
    assert len(source.splitlines()) < 60
    assert '[project.entry-points."deepcadence.families"]' in page
