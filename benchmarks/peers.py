"""Caches for diffusion models side by side: time, MACs, bytes held, and what each of them survives.

The DeepCache package on a U-Net; the caches of diffusers and cache-dit on Flux and Wan; ours on all three. The models
are small and their weights random, so images mean nothing and quality is not compared: time, memory and failures do not
depend on weights. A peer that decides by a threshold gets the first of its settings that saves a fifth of the MACs.
Ours comes once for each peer, with the dearest schedule that takes no more MACs than that peer, to one in a hundred.
"""

from __future__ import annotations

import argparse
import gc
import importlib.metadata
import logging
import statistics
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measuring import (
    command_line,
    environment,
    interleaved,
    keep_freed_memory,
    machine,
    markdown_table,
    median_ratio,
    timed,
    write_result,
)
from benchmarks.peers_conditions import CONDITIONS
from benchmarks.peers_contenders import PEERS, Contender, Ours, schedules_by_macs
from benchmarks.peers_models import MODELS, Model

ENOUGH = 0.8  # of the MACs of the plain model: a setting that takes no more counts as one that saves
SAME = 0.01  # of the MACs of the plain model: ours are counted on the denoiser alone, with another number of tokens
COLUMNS = {
    "contender": ("contender", ""),
    "setting": ("setting", ""),
    "time_ratio": ("time / plain", ".3f"),
    "mac_ratio": ("MACs / plain", ".3f"),
    "bytes_held": ("bytes held", ",d"),
    "refreshed": ("refreshed at each call", ""),
}


def measure(model: Model, arguments: argparse.Namespace) -> dict[str, Any]:
    """All rows of one model: contenders, and what each survives."""
    contenders, absent = _contenders(model, arguments)
    seconds = interleaved([(key, _timer(model, one, arguments)) for key, one in contenders], arguments.rounds)
    plain_macs, plain_bytes = macs_of(model, None, arguments), live_bytes(model, None, arguments)
    rows = [
        {
            "contender": name,
            "setting": setting,
            "seconds": statistics.median(seconds[name, setting]),
            "time_ratio": median_ratio(seconds[name, setting], seconds["plain", ""]),
            "mac_ratio": macs_of(model, one, arguments) / plain_macs,
            "bytes_held": max(0, live_bytes(model, one, arguments) - plain_bytes),
            "refreshed": "" if one is None else refreshed(model, type(one), arguments),
        }
        for (name, setting), one in contenders
    ]
    kinds: dict[str, type[Contender]] = {"ours": Ours, **PEERS[model.name]}
    survival = [survives(name, kind, model) for name, kind in kinds.items() if name not in absent]
    return {"steps": arguments.steps, "rows": rows, "absent": absent, "survival": survival}


def _installed(kind: type[Contender]) -> bool:
    try:
        importlib.metadata.version(kind.package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _contenders(
    model: Model, arguments: argparse.Namespace
) -> tuple[list[tuple[tuple[str, str], Contender | None]], dict[str, str]]:
    """Each with its name and setting, plain as None; and why others are not among them."""
    found: list[tuple[tuple[str, str], Contender | None]] = [(("plain", ""), None)]
    absent: dict[str, str] = {}
    plain, by_macs = macs_of(model, None, arguments), schedules_by_macs(model, arguments.steps)
    ours: dict[str, Contender] = {}
    for name, kind in PEERS[model.name].items():
        if not _installed(kind):
            absent[name] = "not installed"
            continue
        try:
            peer, share = _setting_that_saves(model, kind, plain, arguments)
        except Exception as error:  # noqa: BLE001 - a peer may fail in any way
            absent[name] = f"{type(error).__name__}: {error}"
            continue
        if share >= 1:
            absent[name] = "as it comes, it finds nothing to reuse in this model"
            continue
        found.append(((name, str(peer.setting)), peer))
        best = next((entry for entry in by_macs if entry[0] <= share + SAME), None)
        if best is not None:
            ours[best[2]] = Ours(best[1], arguments.steps)
    return found + [(("ours", described), one) for described, one in ours.items()], absent


def _setting_that_saves(
    model: Model, kind: type[Contender], plain: int, arguments: argparse.Namespace
) -> tuple[Contender, float]:
    """The first setting that saves enough, or else the last; and its share of the MACs of the plain model."""
    for setting in kind.settings:
        peer = kind(setting, arguments.steps)
        share = macs_of(model, peer, arguments) / plain
        if share <= ENOUGH:
            break
    return peer, share


def _pipe(model: Model, one: Contender | None) -> Any:
    """A pipeline of its own, with a contender of its own enabled on it."""
    pipe = model.build()
    if one is not None:
        type(one)(one.setting, one.calls).enable(pipe)
    return pipe


def _timer(model: Model, one: Contender | None, arguments: argparse.Namespace) -> Callable[[], float]:
    """Seconds of a run on a pipeline of its own, on which the contender stays enabled."""
    pipe = _pipe(model, one)
    model.run(pipe, arguments.steps)  # warm up
    return lambda: timed(torch.device("cpu"), lambda: model.run(pipe, arguments.steps))[0]


def macs_of(model: Model, one: Contender | None, arguments: argparse.Namespace) -> int:
    """MACs that a run really takes, counted while it runs."""
    pipe = _pipe(model, one)
    with FlopCounterMode(display=False) as counter:
        model.run(pipe, arguments.steps)
    return int(counter.get_total_flops()) // 2


def live_bytes(model: Model, one: Contender | None, arguments: argparse.Namespace) -> int:
    """The most bytes of tensors, weights left out, that are alive at the end of a step."""
    most = 0

    def look(pipe: Any, step: int, timestep: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        nonlocal most
        tensors = [value for value in gc.get_objects() if type(value) is torch.Tensor]
        storages = {value.untyped_storage().data_ptr(): value.untyped_storage().nbytes() for value in tensors}
        most = max(most, sum(storages.values()))
        return kwargs

    pipe = _pipe(model, one)
    gc.collect()
    model.run(pipe, arguments.steps, callback_on_step_end=look)
    return most


def refreshed(model: Model, kind: type[Contender], arguments: argparse.Namespace) -> str:
    """Whether a contender that recomputes all at each call gives what the plain model gives."""
    plain = model.run(model.build(), arguments.steps)
    found = model.run(_pipe(model, kind(None, arguments.steps)), arguments.steps)
    return "equal" if torch.equal(found, plain) else f"{float((found - plain).abs().max()):.2g} off"


def survives(name: str, kind: type[Contender], model: Model) -> dict[str, str]:
    """One word for each condition, or what went wrong."""
    row = {"contender": name}
    for condition, check in CONDITIONS[model.name].items():
        try:
            row[condition] = check(kind, model)
        except Exception as error:  # noqa: BLE001 - a peer may fail in any way
            row[condition] = f"{type(error).__name__}"
    return row


def markdown(result: dict[str, Any]) -> str:
    """The result for people."""
    parts = [
        "# Caches side by side",
        f"`{result['command']}`",
        f"{machine(result['environment'])}. Medians over {result['rounds']} interleaved rounds of the ratio to the "
        "plain run of the same round. MACs are counted while a run is made. Bytes held are those of live tensors "
        "at the end of a step, above those of the plain run. Weights are random, so quality is not compared.",
    ]
    for name, found in result["models"].items():
        parts.append(f"## {name}\n\n{found['steps']} steps.")
        parts.append(markdown_table(found["rows"], COLUMNS).strip())
        parts += [f"{peer}: {why}." for peer, why in found["absent"].items()]
        columns = {key: (key, "") for key in found["survival"][0]}
        parts.append("What each survives:\n\n" + markdown_table(found["survival"], columns).strip())
    return "\n\n".join(parts) + "\n"


def parse_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds, of which the median counts")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="tiny models, one round: does it run?")
    parser.add_argument("--out", type=Path, help="write OUT.json and OUT.md")
    arguments = parser.parse_args(words)
    if arguments.quick:
        arguments.rounds, arguments.steps = 1, 8
    return arguments


@torch.no_grad()
def main() -> None:
    """Measure, print, write."""
    arguments = parse_arguments()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)  # peers explain themselves at length
    torch.set_num_threads(arguments.threads)
    kept = keep_freed_memory()
    packages = [kind.package for kinds in PEERS.values() for kind in kinds.values() if _installed(kind)]
    result = {
        "command": command_line("benchmarks.peers"),
        "environment": environment(*sorted({"diffusers", *packages})),
        "rounds": arguments.rounds,
        "freed_memory_kept": kept,
        "models": {name: measure(MODELS[name](tiny=arguments.quick), arguments) for name in arguments.models},
    }
    text = markdown(result)
    print(text)
    if arguments.out:
        write_result(arguments.out, result, text)


if __name__ == "__main__":
    main()
