"""What something was measured with: the command, the versions and the machine, kept with the result."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path
from typing import Final, Self

import torch
from pydantic import Field, model_validator

from deepcadence.schedules.fields import Record, Text, problem, spelled_out

__all__ = ["Setup", "processor"]

_MAX_COMMAND: Final = 4096
"""The longest command that is kept, in characters."""

_MAX_VERSIONS: Final = 50
_MAX_VERSION: Final = 100
_PACKAGES: Final = ("deepcadence", "torch", "diffusers", "transformers", "optuna", "torchmetrics")


class Setup(Record):
    """What something was measured with, to measure it again. Empty in what older versions wrote."""

    command: Text = ""
    """The command line, without passwords; empty if it was asked for in Python."""
    versions: dict[Text, Text] = Field(default_factory=dict)
    """Package -> version, Python among them."""
    machine: Text = ""
    """The processor, its threads and the GPU: the same seeds give the same figures to the bit on the same of these."""

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if len(self.command) > _MAX_COMMAND:
            raise problem(f"at most {_MAX_COMMAND} characters", "setup.command", f"{len(self.command)}")
        texts = (*self.versions, *self.versions.values())
        if len(self.machine) > _MAX_VERSION:
            raise problem(f"at most {_MAX_VERSION} characters", "setup.machine", f"{len(self.machine)}")
        if len(self.versions) > _MAX_VERSIONS or any(len(text) > _MAX_VERSION for text in texts):
            raise problem(f"at most {_MAX_VERSIONS} versions, each a short text", "setup.versions", "more or longer")
        return self

    @classmethod
    def now(cls, command: str = "") -> Self:
        """What runs here, with `command` on one line: what cannot be printed is escaped, what is too long is cut."""
        line = spelled_out(command)
        short = line if len(line) <= _MAX_COMMAND else f"{line[: _MAX_COMMAND - 1]}…"
        versions = {"python": platform.python_version()} | _installed()
        return cls(command=short, versions=versions, machine=spelled_out(_machine())[:_MAX_VERSION])


def processor() -> str:
    """The name of the processor, as far as the system tells it."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _machine() -> str:
    threads = torch.get_num_threads()
    gpus = [torch.cuda.get_device_name()] if torch.cuda.is_available() else []
    return ", ".join([processor(), f"{threads} thread{'s' if threads > 1 else ''}", *gpus])


def _installed() -> dict[str, str]:
    """Name -> version of those of the packages that are installed."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
