"""Refresh the published schedules of the library: `python -m deepcadence.schedules.library.write_published`."""

from __future__ import annotations

from typing import Final

from deepcadence.schedules.generators import nonuniform
from deepcadence.schedules.library import LIBRARY
from deepcadence.schedules.provenance import Created
from deepcadence.schedules.schedule import Schedule

__all__ = ["main", "published"]

_LDM_CALLS: Final = 250
_LDM: Final = {2: (120, 1.2), 3: (120, 1.2), 5: (110, 1.4), 10: (110, 1.2), 20: (120, 1.4)}
"""N -> (c, p): Ma et al., DeepCache, arXiv 2312.00858v2, Table 9, LDM-4-G, 250 DDIM steps."""

_SD_CALLS: Final = 50
_SD: Final = (
    {2: (15, 1.5), 3: (15, 1.3), 4: (15, 1.4), 5: (10, 1.5), 6: (15, 1.3), 7: (15, 1.4), 8: (10, 1.4)},
    {2: (20, 1.3), 3: (20, 1.4), 4: (20, 1.4), 5: (15, 1.3), 6: (15, 1.5), 7: (15, 1.5), 8: (20, 1.3)},
)
"""The same, Table 10, Stable Diffusion v1.5, 50 steps: its two rows, each chosen on another set of prompts."""

_PAPER: Final = "Ma et al., arXiv 2312.00858v2"
_CUT: Final = 0
_AT: Final = "2023-12-07T00:00:00+00:00"


def published() -> dict[str, Schedule]:
    """Name -> schedule, as explicit calls, by the formula of the released code, with which (c, p) were chosen.

    They have no `quality`: nobody measured them here. The tables name no cut; the authors' script has the outermost.
    """
    rows = [(f"ldm-4-g-n{n}", f"{_PAPER}, Table 9", _LDM_CALLS, n, pair) for n, pair in _LDM.items()]
    for number, row in enumerate(_SD, start=1):
        place = f"{_PAPER}, Table 10, row {number}"
        rows += [(f"sd15-row{number}-n{n}", place, _SD_CALLS, n, pair) for n, pair in row.items()]
    rows.append(("sd15-script-n5", "stable_diffusion.py of DeepCache's authors", _SD_CALLS, 5, (15, 1.4)))
    return {name: _schedule(place, calls, n, *pair) for name, place, calls, n, pair in rows}


def _schedule(place: str, calls: int, interval: int, center: float, power: float) -> Schedule:
    made = nonuniform(calls, interval, _CUT, center, power, formula="released")
    by = f"{place}: published, not measured by us"
    return Schedule(calls=made.calls, generator=made.generator, created=Created(by=by, at=_AT))


def main() -> None:
    """Write the files, silently."""
    for name, schedule in published().items():
        schedule.save(LIBRARY / f"{name}.json")


if __name__ == "__main__":
    main()
