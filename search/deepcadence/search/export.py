"""Writing the whole front of a study, one schedule file per point."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from deepcadence.probe import Workload
from deepcadence.search.errors import SearchError
from deepcadence.search.evaluate import Evaluator, Progress
from deepcadence.search.heldout import check_held_out, held_out_phases
from deepcadence.search.identity import check_same_workload
from deepcadence.search.provenance import documented
from deepcadence.search.quality import QualityFunction, check_function
from deepcadence.search.results import StudyResult


def export_front(
    workload: Workload,
    result: StudyResult,
    folder: str | PathLike[str],
    *,
    seeds: Sequence[int] | None = None,
    quality: QualityFunction | None = None,
    progress: Progress | None = None,
) -> list[Path]:
    """Write the schedules of the front, cheapest first, as `NN-SPEEDUPx.json`.

    Args:
        workload: as in the study; its seeds are ignored.
        result: the study.
        folder: made if it does not exist; files of the same names are replaced.
        seeds: held-out seeds on which to measure each schedule; without, the files say nothing about quality,
            as figures on search seeds would be too good.
        quality: the study's own quality function, if it has one.
        progress: phases "held-out: reference" and "held-out: 1 of 7" and so on.

    Returns:
        The files.

    Raises:
        SearchError: the study has no finished schedule, a seed was a search seed, or the workload is another.
    """
    front = result.front()
    if not front:
        raise SearchError(f"study {result.study_name!r} has no finished schedule to export")
    check_same_workload(workload, result)
    if seeds is not None:
        check_function(result.metric, quality)
        check_held_out(seeds, result)
    evaluator = Evaluator(
        workload.replace(seeds=result.seeds if seeds is None else tuple(seeds)),
        quality=quality,
        progress=held_out_phases(progress),
    )
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for index, trial in enumerate(front, 1):
        measured = None
        if seeds is not None:
            measured = evaluator.measure_candidate(trial, phase=f"{index} of {len(front)}")
        schedule = documented(trial, evaluator, measured, result.metric)
        path = target / f"{index:02d}-{trial.speedup:.2f}x.json"
        schedule.save(path)
        written.append(path)
    return written
