"""The runtime under load: random runs on shared models in several threads, each beside an oracle.

A case is a pipeline of one of the families with tiny random weights, a scheduler, steps, a batch and a size, a schedule
with any mix of cuts and any reuse, and an incident within the run: an exception from a callback, an interruption, a
detachment, another pipeline of the same denoiser that attaches or runs in between, guidance that is switched off, a
schedule that is too short. What the denoiser gives at each step, the images and the counts must be, to the bit, those
of the oracle (`runtime_following.py`), which makes the same full and partial calls explicitly. Some cases run the bare
denoiser instead. Four threads take cases from one list, neighbours with the same model.

After every hundred cases the threads rest. Then all modules must be as they were found, torch's random state too, and
no tensor, no module and nothing of the runtime may be alive that was not after the first hundred.

    python -m campaigns.runtime_oracle --count 10000 --out reports/results/campaign-runtime
    python -m campaigns.runtime_oracle --soak 60 --out reports/results/soak-runtime

A result that is there is gone on with: cases already done are not done again. A case is repeated by its number:
`--first NUMBER --count 1 --threads 1`.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from random import Random
from typing import Any

import psutil
import torch
from torch import nn

from benchmarks.measuring import command_line, environment, machine, write_result
from campaigns.runtime_cases import Models, check, run_plainly
from campaigns.runtime_pool import KINDS
from deepcadence.schedules import ScheduleWarning, denoiser

BLOCK = 100
NEIGHBOURS = 4
"""Cases in a row that are of one kind, so that threads meet on a model."""
KEPT = ("deepcadence.", "campaigns.")
"""Modules whose objects are counted, beside tensors and torch's modules."""
FLAT = 1.05
"""How far resident memory may rise in a soak, from after its first fifth to its end."""


class Campaign:
    """The shared models, what they were when found, and the cases that are run on them."""

    def __init__(self, threads: int, seed: int, kinds: Sequence[str] = tuple(KINDS)) -> None:
        self.threads, self.seed, self.kinds = threads, seed, kinds
        self.shared = Models(kinds)
        self.own: SimpleQueue[Models] = SimpleQueue()
        for _ in range(threads):
            self.own.put(Models(kinds))
        self.warm_up()
        self.found = self._state()
        gc.collect()
        gc.freeze()
        self.alive: Counter[str] | None = None

    def warm_up(self) -> None:
        """A run and a case of each kind, so that what is made once and kept is there before anything is counted."""
        own = self.own.get()
        for name in self.kinds:
            run_plainly(name, self.shared)
            check(name, self.shared, own, name)
        self.own.put(own)

    def block(self, numbers: Sequence[int]) -> tuple[int, list[dict[str, Any]]]:
        """Run cases; returns the runs compared, and what was found, with its case."""
        random_state = torch.get_rng_state()
        with ThreadPoolExecutor(self.threads) as pool:
            futures = {number: pool.submit(self._case, number) for number in numbers}
        findings, runs = [], 0
        for number, future in futures.items():
            error = future.exception()
            if error is None:
                runs += future.result()
            else:
                findings.append({"case": number, "what": f"{type(error).__name__}: {error}"})
        del futures
        span = f"{numbers[0]} to {numbers[-1]}"
        if not torch.equal(random_state, torch.get_rng_state()):
            findings.append({"case": span, "what": "torch's random state is another"})
            torch.set_rng_state(random_state)
        return runs, findings + [{"case": span, "what": what} for what in [*self._changed(), *self._leaked()]]

    def _case(self, number: int) -> int:
        own = self.own.get()
        try:
            name = Random(f"{self.seed}/{number // NEIGHBOURS}").choice(self.kinds)
            return check(name, self.shared, own, f"{self.seed}/{number}")
        finally:
            self.own.put(own)

    def _models(self) -> dict[str, nn.Module]:
        return {name: denoiser(pipe) for name, pipe in self.shared.prototypes.items()}

    def _state(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Every attribute of every module: whatever the runtime puts on one would show."""
        return {
            name: {place: _plain(vars(module)) for place, module in model.named_modules()}
            for name, model in self._models().items()
        }

    def _changed(self) -> list[str]:
        """The modules that are not as they were found."""
        now = self._state()
        places = [(name, place) for name, modules in self.found.items() for place in modules]
        changed = [(name, place) for name, place in places if now[name].get(place) != self.found[name][place]]
        return [f"module {place or 'itself'} of {name} is not as found" for name, place in changed]

    def _leaked(self) -> list[str]:
        """What is alive that was not after the first block."""
        gc.collect()
        alive = Counter(filter(None, map(_counted, gc.get_objects())))
        if self.alive is None:
            self.alive = alive
        return [f"{count} more of {name} alive" for name, count in (alive - self.alive).items()]


def _plain(attributes: dict[str, Any]) -> dict[str, Any]:
    """Attributes as found: containers by a copy of them, anything else by itself."""
    return {
        name: {key: id(item) for key, item in value.items()} if isinstance(value, dict) else id(value)
        for name, value in attributes.items()
    }


def _counted(thing: object) -> str | None:
    kind = type(thing)
    if issubclass(kind, torch.Tensor | nn.Module) or kind.__module__.startswith(KEPT):
        return f"{kind.__module__}.{kind.__qualname__}"
    return None


def run(arguments: argparse.Namespace, kinds: Sequence[str] = tuple(KINDS)) -> dict[str, Any]:
    """Run what is left of the campaign, block by block; the result is written after each."""
    result = _begun(arguments)
    if _done(arguments, result):
        return result
    campaign = Campaign(arguments.threads, arguments.seed, kinds)
    process, before = psutil.Process(), float(result["seconds"])
    began = time.monotonic()
    while not _done(arguments, result):
        first = arguments.first + result["cases"]
        left = BLOCK if arguments.soak else arguments.count - result["cases"]
        runs, findings = campaign.block(range(first, first + min(BLOCK, left)))
        result["cases"] += min(BLOCK, left)
        result["runs"] += runs
        result["findings"] += findings
        result["seconds"] = round(before + time.monotonic() - began, 1)
        sample = {"seconds": result["seconds"], "rss": process.memory_info().rss, "objects": len(gc.get_objects())}
        result["memory"].append(sample)
        if arguments.soak and _done(arguments, result):
            result["findings"] += grown(result["memory"])
        if arguments.out:
            write_result(arguments.out, result, markdown(result))
    return result


def _begun(arguments: argparse.Namespace) -> dict[str, Any]:
    """What an interrupted campaign left, if it is this one; otherwise an empty result."""
    result: dict[str, Any] = {
        "command": command_line("campaigns.runtime_oracle"),
        "environment": environment("diffusers"),
        **{name: getattr(arguments, name) for name in ("seed", "threads", "first")},
        "cases": 0,
        "runs": 0,
        "seconds": 0.0,
        "findings": [],
        "memory": [],
    }
    path = arguments.out and arguments.out.with_suffix(".json")
    if path and path.exists() and not arguments.soak:
        left = json.loads(path.read_text())
        if all(left[name] == result[name] for name in ("seed", "threads", "first")):
            return {**left, "command": result["command"]}
    return result


def _done(arguments: argparse.Namespace, result: dict[str, Any]) -> bool:
    if arguments.soak:
        return bool(result["seconds"] >= 60 * arguments.soak)
    return bool(result["cases"] >= arguments.count)


def drift(memory: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Resident memory after the first fifth of the samples: MB at both ends, and MB an hour by least squares."""
    late = memory[len(memory) // 5 :]
    megabytes = [sample["rss"] / 2**20 for sample in late]
    hours = [sample["seconds"] / 3600 for sample in late]
    slope = statistics.linear_regression(hours, megabytes).slope if len(late) > 1 else 0.0
    quarter = max(1, len(late) // 4)
    return {
        "begin": statistics.median(megabytes[:quarter]),
        "end": statistics.median(megabytes[-quarter:]),
        "slope": slope,
    }


def grown(memory: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """The finding that resident memory is not flat, if it is not."""
    megabytes = drift(memory)
    if megabytes["end"] <= FLAT * megabytes["begin"]:
        return []
    return [
        {"case": "soak", "what": f"resident memory grew from {megabytes['begin']:.0f} to {megabytes['end']:.0f} MB"}
    ]


def markdown(result: dict[str, Any]) -> str:
    """The result in words."""
    findings = "".join(f"- case {each['case']}: {each['what']}\n" for each in result["findings"]) or "None.\n"
    memory = drift(result["memory"])
    objects = [sample["objects"] for sample in result["memory"]]
    return (
        f"# The runtime under load\n\n`{result['command']}`\n\n{machine(result['environment'])}.\n\n"
        f"{result['cases']:,} random cases from {result['first']} on, seed {result['seed']}, on {result['threads']} "
        f"threads: {result['runs']:,} runs compared to the bit with explicit full and partial calls, in "
        f"{result['seconds']:.0f} s.\n\n## Findings\n\n{findings}\n## Memory\n\n"
        f"Resident memory, after a fifth of the time: {memory['begin']:.0f} MB, and {memory['end']:.0f} MB in the end "
        f"({memory['slope']:+.1f} MB an hour). Python objects that may be part of a cycle, after each {BLOCK} cases: "
        f"{objects[0]:,} first, {objects[-1]:,} last.\n"
    )


def parse_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m campaigns.runtime_oracle", description="The runtime under load.")
    parser.add_argument("--count", type=int, default=10_000, help="cases")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="go on for so long instead")
    parser.add_argument("--out", type=Path, help="write OUT.json and OUT.md, or go on with them")
    return parser.parse_args(words)


def main() -> None:
    """Run, print; exit code 1 where something was found."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ScheduleWarning)
    result = run(parse_arguments())
    print(markdown(result))
    raise SystemExit(bool(result["findings"]))


if __name__ == "__main__":
    main()
