"""`deepcadence generate`: images, with a schedule or without."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepcadence.cli.command import AsJson, Debug, Quiet, on_interrupt
from deepcadence.cli.console import note, print_json
from deepcadence.cli.options import BatchSize, Call, Device, DType, Dtype, Model, Prompts
from deepcadence.cli.progress import Report, progress

if TYPE_CHECKING:
    from deepcadence.probe import Workload
    from deepcadence.schedules import RunStats, Schedule


def generate(
    model: Model,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the images.")] = Path("out"),
    schedule: Annotated[
        Path | None,
        typer.Option(
            "--schedule",
            help="The schedule: a JSON file, or a name of `schedule list`. Without one, every call is full.",
        ),
    ] = None,
    seed: Annotated[
        list[int] | None, typer.Option("--seed", min=0, help="Seed of an image; repeat for several.  [default: 0]")
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps", min=1, help="Sampling steps.  [default: what the schedule was made for; 50 without one]"
        ),
    ] = None,
    prompts: Prompts = None,
    call: Call = None,
    batch_size: BatchSize = 8,
    device: Device = None,
    dtype: DType = Dtype.float32,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Generate images with a schedule: one PNG per seed, `seed-<seed>.png`.

    Steps and timestep_spacing are those that the schedule was made with, where it says so.

    The same seed gives the same noise with a schedule and without, so that the images can be compared: give --steps to
    the run without, as many as the schedule's.
    Images of the same name in the folder are replaced.

    Example:  deepcadence generate ./my-model --schedule schedule.json --seed 0 --seed 1 -o out/
    """
    from deepcadence.cli.loading import load_schedule
    from deepcadence.cli.outputs import check_folder
    from deepcadence.cli.workload import scheduled_workload

    check_folder(out)
    loaded = load_schedule(schedule) if schedule else None
    with scheduled_workload(
        model,
        loaded,
        str(schedule),
        steps=steps,
        seeds=tuple(dict.fromkeys(seed or [0])),
        prompts=prompts,
        call=call,
        batch_size=batch_size,
        device=device,
        dtype=dtype,
    ) as workload:
        record = _write_images(workload, loaded, out)
    if as_json:
        print_json(record)


def _write_images(workload: Workload, schedule: Schedule | None, out: Path) -> dict[str, Any]:
    """Make and write the images, a batch only if all of it is finite; returns what `--json` prints."""
    from deepcadence.cli.images import check_finite, write_image
    from deepcadence.probe.pictures import to_pil
    from deepcadence.schedules import cached

    traced = workload.trace()
    calls = traced.num_calls * traced.sides * -(-len(workload.seeds) // workload.batch_size)
    began, stats = time.monotonic(), None
    written: list[Path] = []
    attached = cached(workload.pipeline, schedule) if schedule else nullcontext()
    with attached as handle, progress() as report, _counted(workload, calls, report):
        for seeds in workload.batches():
            for seed, image in zip(seeds, check_finite(workload.run(seeds), seeds), strict=True):
                written.append(out / f"seed-{seed}.png")
                write_image(to_pil(image), written[-1], steps=workload.steps)
                on_interrupt(f"The images finished so far are in {out}; the same command makes them all again.")
            stats = handle.stats if handle else None
    seconds = time.monotonic() - began
    note(f"wrote {len(written)} image{'s' * (len(written) != 1)} to {out} in {seconds:.1f} s{_calls(stats)}")
    images = [{"seed": seed, "file": str(path)} for seed, path in zip(workload.seeds, written, strict=True)]
    return {"images": images, "seconds": round(seconds, 3), "run": None if stats is None else asdict(stats)}


@contextmanager
def _counted(workload: Workload, calls: int, report: Report) -> Iterator[None]:
    """Inside, each call of the denoiser is reported: one image of a large model takes long."""
    from deepcadence.schedules import denoiser

    done = 0

    def count(*_: object) -> None:
        nonlocal done
        done += 1
        report("generating", min(done, calls), calls)

    report("generating", 0, calls)
    hook = denoiser(workload.pipeline).register_forward_hook(count)
    try:
        yield
    finally:
        hook.remove()


def _calls(stats: RunStats | None) -> str:
    if stats is None:
        return ""
    forced = f", {len(stats.forced)} of them forced: {stats.forced[0][1]}" if stats.forced else ""
    went_on = f", {len(stats.went_on)} of them by the input" if stats.went_on else ""
    return f"; per run {stats.calls} calls: {stats.full} full{forced}{went_on}, {stats.partial} partial"
