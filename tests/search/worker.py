"""A worker of a study as its own process: python -m tests.search.worker STORAGE TRIALS SECONDS_PER_BATCH [FOLDER].

With `join` for TRIALS it joins the study that another one began. With FOLDER it begins when three have met there.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import torch

from deepcadence.probe import Workload
from deepcadence.search import join_study, joining, run_study
from tests import tiny

SMALL: dict[str, Any] = {
    "max_uniform": 2,
    "max_published": 1,
    "fewer_steps": (3,),
    "max_predicted": 0,
    "cuts": (0, 1),
    "heartbeat": 2,
}


class Slow(Workload):
    """Runs that take a while, so that there is time to be killed in."""

    seconds = 0.0

    def run(self, seeds: Any = None, *, steps: int | None = None) -> torch.Tensor:
        time.sleep(Slow.seconds)
        return super().run(seeds, steps=steps)


def workload() -> Workload:
    """The same in every process."""
    return Slow(tiny.ddim_pipeline(), steps=6, seeds=(0, 1), batch_size=2)


if __name__ == "__main__":
    torch.set_num_threads(1)
    Slow.seconds = float(sys.argv[3])
    for folder in map(Path, sys.argv[4:]):
        (folder / str(os.getpid())).touch()
        while len(list(folder.iterdir())) < 3:
            time.sleep(0.05)
    if sys.argv[2] == "join":
        joining.Workload = Slow  # type: ignore[attr-defined]
        join_study(workload().pipeline, sys.argv[1])
    else:
        run_study(workload(), storage=sys.argv[1], trials=int(sys.argv[2]), **SMALL)
