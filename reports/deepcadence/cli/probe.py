"""`deepcadence probe`: measure how much a model's features change between calls."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepcadence.cli.command import AsJson, Debug, Quiet, on_interrupt
from deepcadence.cli.console import is_quiet, note, print_json, quietly
from deepcadence.cli.options import BatchSize, Call, Cuts, Device, DType, Dtype, Model, Prompts
from deepcadence.cli.progress import progress

if TYPE_CHECKING:
    from deepcadence.probe import Profile


def probe(
    model: Model,
    out: Annotated[Path, typer.Option("-o", "--out", help="Where to write the profile.")] = Path("profile.safetensors"),
    steps: Annotated[int, typer.Option("--steps", min=1, help="Sampling steps of a run.")] = 50,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, help="Samples to average over: seeds 0, 1, ...  [samples]")
    ] = 16,
    prompts: Prompts = None,
    call: Call = None,
    cuts: Cuts = None,
    max_distance: Annotated[
        int,
        typer.Option(
            "--max-distance",
            min=0,
            help="Also try features up to this many calls old, and measure the error of the output.  [calls] "
            "This takes most of the time; 0 measures similarities only.",
        ),
    ] = 10,
    memory_limit: Annotated[
        str,
        typer.Option("--memory-limit", help="Memory for recorded features, e.g. 800MiB. Beyond it they are projected."),
    ] = "4GiB",
    batch_size: BatchSize = 8,
    device: Device = None,
    dtype: DType = Dtype.float32,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Measure, for each cut and each pair of calls, how similar the features are and what reuse would cost.

    Writes a profile: cosine similarity, relative L2 and L1 distance, and the relative error of the model's output.
    `deepcadence report` draws it; `deepcadence search` starts from it.

    Under torchrun each process takes some of the samples, on a GPU of its own:
    torchrun --nproc-per-node 4 -m deepcadence.cli probe ...

    Example:  deepcadence probe ./my-model --steps 50 --seeds 16 --device cuda --dtype float16 -o profile.safetensors
    """
    from deepcadence.cli.outputs import Kind, check_output
    from deepcadence.cli.typed import command_line
    from deepcadence.cli.workload import load_workload, read_prompts
    from deepcadence.probe import Setup, estimate_memory
    from deepcadence.probe import probe as run_probe
    from deepcadence.probe.ranks import process_group

    check_output(out, Kind.profile)
    limit = read_bytes(memory_limit)
    on_interrupt("No profile was written; the same command starts over.")
    with process_group() as rank, quietly(is_quiet() or rank > 0):
        workload = load_workload(
            model,
            steps=steps,
            seeds=tuple(range(seeds)),
            prompts=read_prompts(prompts),
            call=call,
            batch_size=batch_size,
            device=device,
            dtype=dtype,
        )
        note(f"memory: {estimate_memory(workload, cuts or None, memory_limit=limit, max_distance=max_distance)}")
        with progress() as report:
            profile = run_probe(
                workload, cuts=cuts or None, memory_limit=limit, max_distance=max_distance, progress=report
            )
    if rank > 0:
        return
    setup = Setup.now(command_line())
    profile = replace(profile, meta=profile.meta.model_copy(update={"setup": setup}))
    profile.save(out)
    note(f"wrote {out}: cuts {', '.join(map(str, profile.cuts))}, {profile.num_calls} calls, {seeds} samples")
    again = ["deepcadence", "search", model, "--profile", str(out), "--target-speedup", "2"]
    again += [word for each in call or () for word in ("--call", each)]
    note(f"next: {shlex.join(again)} -o schedule.json")
    if as_json:
        print_json(_record(out, profile))


def _record(out: Path, profile: Profile) -> dict[str, Any]:
    meta = profile.meta
    return {
        "profile": str(out),
        "cuts": list(profile.cuts),
        "num_calls": profile.num_calls,
        "steps": meta.steps,
        "samples": len(meta.seeds),
        "full_macs": meta.macs.full,
        "partial_macs": {str(cut): meta.macs.partial[cut] for cut in profile.cuts},
        "projected": meta.projection is not None,
    }


def read_bytes(text: str) -> int:
    """`4GiB`, `800 MiB`, `1.5GB` or a plain number, in bytes."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMGT]?)(i?)B?", text.strip(), re.IGNORECASE)
    if match is None:
        raise typer.BadParameter(
            f"{text!r} is no amount of memory, such as 4GiB or 800MiB", param_hint="--memory-limit"
        )
    number, prefix, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** " KMGT".index(prefix.upper() or " "))
