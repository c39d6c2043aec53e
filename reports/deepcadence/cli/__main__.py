"""`python -m deepcadence.cli`, where the `deepcadence` script is not on the path."""

from __future__ import annotations

from deepcadence.cli import main

main()
