"""`deepcadence search`: find the schedule for a target."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepcadence.cli.command import AsJson, Debug, Quiet, on_interrupt
from deepcadence.cli.console import note, print_json, stdout
from deepcadence.cli.limits import Cost, macs_number, quality_limits
from deepcadence.cli.options import BatchSize, Call, Cuts, Device, Dtype, Model, Pictures, Storage, StudyName
from deepcadence.cli.progress import Report, progress
from deepcadence.cli.search_space import Alphas, MaxHolds, Reuses, Spacings, Thresholds, TrySteps, searched

if TYPE_CHECKING:
    from deepcadence.probe import Profile, Workload
    from deepcadence.search import HeldOut, StudyResult


def search(
    model: Model,
    profile: Annotated[
        Path,
        typer.Option(
            "--profile", help="From `deepcadence probe`: says steps, prompts, cuts and costs.", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Where to write the schedule (JSON).")] = Path(
        "schedule.json"
    ),
    target_speedup: Annotated[
        float | None,
        typer.Option("--target-speedup", "--min-speedup", min=1.0, help="At least this many times cheaper."),
    ] = None,
    max_macs: Annotated[
        float | None,
        typer.Option(
            "--max-macs",
            metavar="MACS",
            parser=macs_number,
            help="At most this many MACs of a call on average, per sample, such as 200G.",
            show_default=False,
        ),
    ] = None,
    min_quality: Annotated[
        list[str] | None,
        typer.Option(
            "--min-quality",
            metavar="METRIC=VALUE",
            help="At least this quality: psnr=30 (in dB) or ssim=0.95; repeat for both.",
            show_default=False,
        ),
    ] = None,
    cost: Annotated[
        Cost,
        typer.Option(
            "--cost", help="What a speed-up counts: MACs, or time of the denoiser, which is measured on this device."
        ),
    ] = Cost.macs,
    storage: Storage = "sqlite:///study.db",
    study_name: StudyName = "deepcadence",
    trials: Annotated[
        int, typer.Option("--trials", min=0, help="Schedules to try, earlier runs included, beside the baselines.")
    ] = 60,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Samples per trial: seeds 0, 1, ...  [samples]")] = 16,
    held_out: Annotated[
        int, typer.Option("--held-out", min=2, help="Further seeds, to measure the chosen schedule on.  [samples]")
    ] = 256,
    call: Call = None,
    cuts: Cuts = None,
    reuse: Reuses = None,
    alpha: Alphas = None,
    threshold: Thresholds = None,
    max_hold: MaxHolds = None,
    try_steps: TrySteps = None,
    spacing: Spacings = None,
    front: Annotated[
        Path | None, typer.Option("--front", metavar="FOLDER", help="Also write every schedule of the front into it.")
    ] = None,
    pictures: Pictures = None,
    batch_size: BatchSize = 8,
    device: Device = None,
    dtype: Annotated[
        Dtype | None,
        typer.Option("--dtype", help="Precision of the model.  [default: that of the profile]", show_default=False),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Search the schedule that keeps the most quality at a cost, or is cheapest at a quality.

    The schedule that is chosen has the best quality within all limits (--target-speedup, --max-macs, --min-quality);
    with a limit on quality alone it is the cheapest.

    Quality is PSNR to the uncached images of the same seeds. Cost is MACs, counted exactly; with --cost time the search
    is the same, and the choice goes by time. Uniform 1:N schedules, the published ones and plain fewer steps are always
    tried too, and schedules that a predictor holds to be best. The choice is measured again on held-out seeds.

    The study can be stopped at any time and resumed with the same command. Several machines can share it in one
    database: run `deepcadence worker` on the others.

    Beside the schedule lies FILE.held-out.json: the comparison, for `deepcadence report`.

    Example:  deepcadence search ./my-model --profile profile.safetensors --target-speedup 2 -o schedule.json
    """
    from deepcadence.cli.held_out import held_out_path
    from deepcadence.cli.outputs import Kind, check_folder, check_output
    from deepcadence.probe import Profile
    from deepcadence.search import call_seconds, select

    least = quality_limits(min_quality or [])
    if target_speedup is None and max_macs is None and not least:
        raise typer.BadParameter(
            "say what to look for: --target-speedup 2, --max-macs 200G, --min-quality psnr=30, or several of them"
        )
    space = searched(reuse, alpha, threshold, max_hold, try_steps, spacing)
    check_output(out, Kind.schedule)
    check_output(held_out_path(out), Kind.schedule)
    if front:
        check_folder(front)
    loaded = Profile.load(profile)
    budgets = [target_speedup if cost is Cost.macs else None, max_macs and loaded.meta.macs.full / max_macs]
    target = max((budget for budget in budgets if budget), default=None)
    if not try_steps:
        _check_reach(loaded, cuts, target)
    workload = _workload(model, loaded, seeds, call, batch_size, device, dtype)
    on_interrupt(f"Finished trials are kept in {storage}; the same command goes on from there.")
    with progress() as report:
        more = {"cuts": cuts or None, "pictures": pictures, **space}
        result = _study(workload, loaded, storage, study_name, trials, target, report, more)
        if result.predictor_words:
            note(f"predictor: {result.predictor_words}")
        note(f"search: {result.savings_words}")
        if result.repeatable_words:
            note(f"note: {result.repeatable_words}")
        timed = result.used_cuts if cost is Cost.time else ()  # without partial calls there is nothing to tell apart
        seconds = call_seconds(workload, timed, progress=report) if timed else None
        chosen = select(result, target_speedup=target_speedup, max_macs=max_macs, min_quality=least, seconds=seconds)
        measured, written = _measure(workload, result, chosen.number, held_out, target, out, front, report)
    _tell(measured, out, written, as_json)
    note(f"next: {_next_command(model, loaded, call, out)}")


def _next_command(model: str, profile: Profile, call: list[str] | None, out: Path) -> str:
    """The command that generates with the schedule."""
    words = ["deepcadence", "generate", model, "--schedule", str(out)]
    words += [word for each in call or () for word in ("--call", each)]
    return shlex.join(words) + (" --prompts FILE" if profile.meta.prompts else "") + " -o out/"


def _check_reach(profile: Profile, cuts: list[int] | None, target: float | None) -> None:
    """Raise `SearchError` before hours of search if no schedule can be so many times cheaper."""
    from deepcadence.search import SearchError

    macs, calls = profile.meta.macs, profile.num_calls
    used = [macs.partial[cut] for cut in cuts or profile.cuts if cut in macs.partial]
    if target is None or not used:
        return
    best = macs.full * calls / (macs.full + (calls - 1) * min(used))
    if target > best:
        raise SearchError(
            f"no schedule of {calls} calls is {target:.4g} times cheaper: with one full call, and the others at the "
            f"cheapest cut, it is {best:.3g} times; ask for less"
        )


def _workload(
    model: str,
    profile: Profile,
    seeds: int,
    call: list[str] | None,
    batch_size: int,
    device: str | None,
    dtype: Dtype | None,
) -> Workload:
    from deepcadence.cli.workload import load_workload

    return load_workload(
        model,
        steps=profile.meta.steps,
        seeds=tuple(range(seeds)),
        prompts=profile.meta.prompts,
        call=call,
        batch_size=batch_size,
        device=device,
        dtype=dtype or Dtype(profile.meta.dtype),
    )


def _study(
    workload: Workload,
    profile: Profile,
    storage: str,
    study_name: str,
    trials: int,
    target_speedup: float | None,
    report: Report,
    more: dict[str, Any],
) -> StudyResult:
    from deepcadence.cli.typed import command_line
    from deepcadence.search import run_study

    return run_study(
        workload,
        profile=profile,
        storage=storage,
        study_name=study_name,
        trials=trials,
        target_speedup=target_speedup,
        command=command_line(),
        progress=report,
        **more,
    )


def _measure(
    workload: Workload,
    result: StudyResult,
    number: int,
    count: int,
    target_speedup: float | None,
    out: Path,
    front: Path | None,
    report: Report,
) -> tuple[HeldOut, list[Path]]:
    """Measure the chosen trial on held-out seeds, and write what there is to write."""
    from deepcadence.cli.held_out import held_out_path
    from deepcadence.search import export_front, finalize, held_out_seeds

    seeds = held_out_seeds(result, count)
    measured = finalize(
        workload, result, result.trial(number), seeds=seeds, target_speedup=target_speedup, progress=report
    )
    measured.schedule.save(out)
    measured.save(held_out_path(out))
    written = export_front(workload, result, front, seeds=seeds, progress=report) if front else []
    return measured, written


def _tell(measured: HeldOut, out: Path, front: list[Path], as_json: bool) -> None:
    """Print the comparison."""
    from deepcadence.cli.held_out import comparison_record, comparison_table, held_out_path

    more = f", and {len(front)} schedules into {front[0].parent}" if front else ""
    note(f"wrote {out} and {held_out_path(out)}{more}")
    if as_json:
        files = {"schedule": str(out), "held_out": str(held_out_path(out)), "front": [str(path) for path in front]}
        print_json(files | comparison_record(measured))
    else:
        stdout().print(comparison_table(measured))
        stdout().print(measured.verdict)
