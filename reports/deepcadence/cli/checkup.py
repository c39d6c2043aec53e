"""What `deepcadence doctor` finds out."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import Literal

State = Literal["ok", "note", "bad"]


_MAIN = ("pydantic", "torch", "diffusers", "transformers", "optuna", "torchmetrics", "matplotlib", "typer")
"""What is looked for where deepcadence is not installed, so that nobody says which versions it needs."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        part: what it belongs to: system, package, device or model.
        name: of the thing.
        state: ok; note (missing, and not always needed); or bad.
        found: in words.
    """

    part: str
    name: str
    state: State
    found: str


def check_up(model: str = "bundled") -> list[Finding]:
    """Everything, in the order in which a reader wants it."""
    return [*system(), *packages(), *devices(), *fit(model)]


def system() -> Iterator[Finding]:
    """Python, the operating system, memory and threads."""
    yield Finding("system", "python", "ok", platform.python_version())
    yield Finding("system", "platform", "ok", platform.platform())
    total, free = memory()
    if total is not None:
        left = "" if free is None else f", {_gib(free)} free"
        yield Finding("system", "memory", "ok", f"{_gib(total)}{left}")


def packages() -> Iterator[Finding]:
    """Each package that deepcadence asks for: its version, and whether that is new enough."""
    try:
        yield Finding("package", "deepcadence", "ok", metadata.version("deepcadence"))
        lines = metadata.requires("deepcadence") or []
    except metadata.PackageNotFoundError:
        yield Finding("package", "deepcadence", "note", "not installed: this is a source tree on the path")
        lines = list(_MAIN)
    seen: set[str] = set()
    for line in lines:
        name, least, extra = _requirement(line)
        if name not in seen and name != "deepcadence":
            seen.add(name)
            yield _package(name, least, extra)


def devices() -> Iterator[Finding]:
    """The CPU and what else torch can run on, with its memory."""
    import torch

    yield Finding("device", "cpu", "ok", f"{torch.get_num_threads()} threads of {os.cpu_count()} cores")
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        name = torch.cuda.get_device_name(index)
        yield Finding("device", f"cuda:{index}", "ok", f"{name}, {_gib(total)}, {_gib(free)} free")
    if torch.backends.mps.is_available():
        yield Finding("device", "mps", "ok", "Apple GPU")
    elif not torch.cuda.is_available():
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "a build for the CPU only"
        yield Finding("device", "gpu", "note", f"none that torch {torch.__version__} ({built}) can use")


def fit(model: str) -> Iterator[Finding]:
    """Whether the runtime can split the model: attaching it runs the self-test at every cut."""
    from deepcadence.cli.workload import quiet_libraries
    from deepcadence.probe import load_pipeline
    from deepcadence.schedules import DeepcadenceError, Schedule, cached, denoiser, family_of

    quiet_libraries()
    try:
        pipeline = load_pipeline(model)
        network = denoiser(pipeline)
        family = family_of(network)
        cuts = family.cuts(network)
        with cached(pipeline, Schedule(calls=("full", *cuts))):
            found = f"{type(network).__name__}, family {family.name}, {len(cuts)} cuts: the split network agrees"
        yield Finding("model", model, "ok", found)
    except DeepcadenceError as error:
        yield Finding("model", model, "bad", str(error))


def memory() -> tuple[int | None, int | None]:
    """Memory of the machine in bytes: all, and free; None where the system does not say."""
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        return os.sysconf("SC_PHYS_PAGES") * page, os.sysconf("SC_AVPHYS_PAGES") * page
    except (AttributeError, ValueError, OSError):
        return None, None


def _requirement(line: str) -> tuple[str, str, str]:
    """`torch>=2.5; extra == 'x'` as ("torch", "2.5", "x")."""
    name = re.split(r"[^\w.-]", line, maxsplit=1)[0]
    least = re.search(r">=\s*([\w.]+)", line)
    extra = re.search(r"extra == ['\"](\w+)['\"]", line)
    return name, least[1] if least else "", extra[1] if extra else ""


def _package(name: str, least: str, extra: str) -> Finding:
    how = f"pip install 'deepcadence[{extra}]'" if extra else f"pip install --upgrade {name}"
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding("package", name, "note" if extra else "bad", f"not installed; for it: {how}")
    if _numbers(version) < _numbers(least):
        return Finding("package", name, "bad", f"{version}, expected at least {least}; type: {how} --upgrade")
    return Finding("package", name, "ok", version)


def _numbers(version: str) -> tuple[int, ...]:
    """`2.13.0+cpu` as (2, 13, 0)."""
    return tuple(int(number) for number in re.findall(r"\d+", re.split(r"[+a-z]", version)[0]))


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"
