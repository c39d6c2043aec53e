"""`deepcadence worker`: take part in a search that runs elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from deepcadence.cli.command import AsJson, Debug, Quiet, on_interrupt
from deepcadence.cli.console import note, print_json
from deepcadence.cli.options import Call, Device, Model, Pictures, Storage, StudyName
from deepcadence.cli.progress import progress

if TYPE_CHECKING:
    from deepcadence.search import StudySettings, TrialRecord

_PAUSE = 2.0


def worker(
    model: Model,
    storage: Storage = "sqlite:///study.db",
    study_name: StudyName = "deepcadence",
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", min=1, help="Samples per run.  [default: that of the search]", show_default=False),
    ] = None,
    call: Call = None,
    pictures: Pictures = None,
    device: Device = None,
    wait: Annotated[
        float, typer.Option("--wait", min=0.0, help="How long to wait for a study that is not there yet.  [minutes]")
    ] = 0.0,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Take part in a search that `deepcadence search` began, on this machine or another.

    Steps, seeds, prompts, precision and what to try are those of the study. It ends when the study is complete;
    the search then measures the choice on held-out seeds. One worker per GPU, as many as there are. Each may be
    stopped or killed at any time: others run its trial again.

    Example:  deepcadence worker ./my-model --storage postgresql+psycopg://user@host/database --device cuda:1
    """
    import torch

    from deepcadence.cli.workload import load_model, read_call
    from deepcadence.search import join_study

    call_kwargs = read_call(call)
    settings = _settings(storage, study_name, wait)
    pipeline = load_model(model, device, getattr(torch, settings.dtype))
    on_interrupt("Finished trials are kept in the study; others run the one that was stopped again.")
    own: list[TrialRecord] = []
    with progress() as report:
        result = join_study(
            pipeline,
            storage,
            study_name=study_name,
            call_kwargs=call_kwargs,
            batch_size=batch_size,
            pictures=pictures,
            progress=report,
            on_trial=own.append,
        )
    note(f"study {study_name!r} is complete: {len(result.trials)} trials, {len(own)} of them run by this worker")
    if as_json:
        numbers = [trial.number for trial in own]
        print_json({"study": study_name, "trials": len(result.trials), "failed": len(result.failed), "own": numbers})


def _settings(storage: str, study_name: str, wait: float) -> StudySettings:
    """Those of the study, once it is there."""
    from deepcadence.search import SearchError, StudySettings

    until = time.monotonic() + 60 * wait
    told = False
    while True:
        try:
            return StudySettings.from_storage(storage, study_name)
        except SearchError as error:
            if time.monotonic() >= until:
                raise
            if not told:
                note(f"{error}; waiting up to {wait:g} minutes")
                told = True
            time.sleep(_PAUSE)
