"""Hostile files: each reader is given real files that were changed at random.

    python -m campaigns.fuzz --count 200000 --seed 0 --out reports/results/campaign-fuzz

Each input must give an object that is equal to itself once written and read again, or a `DeepcadenceError` that names
the file. Anything else is a finding: another exception, more seconds of the processor than `--seconds` (ten times as
many by the clock), more memory than `--memory`.
Findings are written out beside the result, with the input. What was done is kept, and the same command goes on there.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import mmap
import os
import random
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.measuring import command_line, environment, machine, markdown_table, write_result
from campaigns.readers import Reader, copy_folder, readers
from campaigns.tally import Tally
from deepcadence.schedules import DeepcadenceError

CHUNK = 500
COLUMNS = {
    "reader": ("reader", "s"),
    "inputs": ("inputs", ",d"),
    "read": ("read, and equal when read again", ",d"),
    "refused": ("refused by name", ",d"),
    "findings": ("findings", "d"),
    "slowest": ("slowest, s by the clock", ".2f"),
}


class TooLongError(BaseException):
    """An input that took longer than the limit; no `Exception`, so that nobody in between takes it for one."""


def choose(chosen: list[Reader], seed: int, index: int) -> tuple[Reader, bytes]:
    """The input of that number: which reader gets it, and what it holds."""
    dice = random.Random(f"{seed}:{index}")
    (reader,) = dice.choices(chosen, [each.share for each in chosen])
    return reader, reader.change(dice.choice(reader.corpus), dice, reader.corpus)


def attempt(reader: Reader, data: bytes, path: Path, seconds: float) -> tuple[str, str]:
    """("read" or "refused", ""), or ("finding", what is wrong)."""
    path.write_bytes(data)

    def stop(*_: object) -> None:
        raise TooLongError

    before = {name: signal.signal(name, stop) for name in (signal.SIGPROF, signal.SIGALRM)}
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, 10 * seconds)
    try:
        found = reader.read(path)
        return _again(reader, found, path)
    except DeepcadenceError as error:
        folder = str(path.parents[reader.place.count("/")])
        named = not reader.named or any(name in str(error) for name in (path.name, folder, "study '"))
        said = repr(error).replace(folder, "...")
        return ("refused", "") if named and len(str(error)) < 5000 else ("finding", f"names no place: {said}"[:1000])
    except TooLongError:
        return "finding", f"longer than {seconds:g} s"
    except Exception as error:  # noqa: BLE001 - what a reader must not let through
        return "finding", _where(error)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for name, handler in before.items():
            signal.signal(name, handler)


def _again(reader: Reader, found: Any, path: Path) -> tuple[str, str]:
    try:
        return ("read", "") if reader.again(found, path) else ("finding", "read again, it is another")
    except DeepcadenceError as error:
        return "finding", f"was read, but not again: {error!r}"[:1000]


def _where(error: Exception) -> str:
    trace, last = error.__traceback__, ""
    while trace is not None:
        last = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return f"{type(error).__name__}: {error} ({last})"[:1000]


def rows_of(tally: Tally, chosen: list[Reader]) -> list[dict[str, Any]]:
    """One row per reader."""
    rows = []
    for reader in chosen:
        read, refused, findings = (tally.count(reader.name, kind) for kind in ("read", "refused", "finding"))
        rows.append({
            "reader": reader.name, "inputs": read + refused + findings, "read": read, "refused": refused,
            "findings": findings, "slowest": tally.slowest.get(reader.name, 0.0),
        })  # fmt: skip
    return rows


def run_chunk(tally: Tally, chosen: list[Reader], stop: int, work: Path) -> None:
    """Inputs up to `stop`, in a process of its own; one that kills the process is a finding."""
    current = mmap.mmap(-1, 8)
    current[:] = tally.done.to_bytes(8, "little")
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receive)
        with contextlib.suppress(BaseException), os.fdopen(send, "w") as pipe:
            _child(tally, chosen, stop, work, current, pipe)
        os._exit(0)
    os.close(send)
    with os.fdopen(receive) as pipe:
        for line in pipe:
            tally.add(*json.loads(line))
    _, status = os.waitpid(child, 0)
    if tally.done < stop:
        index = int.from_bytes(current[:], "little")
        reader, _ = choose(chosen, tally.options["seed"], index)
        why = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else "an error of its own"
        tally.add(index, reader.name, "finding", f"the process ended by {why}", 0.0)


def _child(tally: Tally, chosen: list[Reader], stop: int, work: Path, current: mmap.mmap, pipe: Any) -> None:
    options = tally.options
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + options["memory"], -1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    with Path(os.devnull).open("w") as nothing, contextlib.redirect_stderr(nothing), _folders(chosen, work) as paths:
        for index in range(tally.done, stop):
            current[:] = index.to_bytes(8, "little")
            reader, data = choose(chosen, options["seed"], index)
            began = time.monotonic()
            outcome, message = attempt(reader, data, paths[reader.name], options["seconds"])
            pipe.write(json.dumps([index, reader.name, outcome, message, time.monotonic() - began]) + "\n")
            pipe.flush()
            _restore(reader, paths[reader.name])


@contextlib.contextmanager
def _folders(chosen: list[Reader], work: Path) -> Iterator[dict[str, Path]]:
    with tempfile.TemporaryDirectory(dir=work) as folder:
        yield {each.name: copy_folder(each, Path(folder, each.name.replace("/", "-"))) for each in chosen}


def _restore(reader: Reader, path: Path) -> None:
    for beside in path.parent.iterdir():  # such as the journal of a database
        if beside.name.startswith(path.name + "-"):
            beside.unlink()


def write_findings(tally: Tally, chosen: list[Reader], out: Path) -> None:
    """The inputs of the findings, each as a file of its own."""
    for finding in tally.findings:
        reader, data = choose(chosen, tally.options["seed"], finding["index"])
        folder = out.with_name(f"{out.name}-findings")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{finding['index']}-{reader.name.replace('/', '-').replace(': ', '-')}").write_bytes(data)


def main() -> None:
    """Read the arguments, fuzz, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200_000, help="inputs in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=20.0, help="limit for one input")
    parser.add_argument("--memory", type=int, default=2**30, help="limit for a process, in bytes beyond its start")
    parser.add_argument("--only", nargs="*", help="only these readers")
    parser.add_argument("--out", type=Path, required=True, help="write PATH.json and PATH.md")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # forked processes have one thread
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        chosen = [each for each in readers(work) if not arguments.only or each.name in arguments.only]
        options = {name: getattr(arguments, name) for name in ("seed", "seconds", "memory", "only")}
        tally = Tally(arguments.out, options)
        while tally.done < arguments.count:
            run_chunk(tally, chosen, min(tally.done + CHUNK, arguments.count), work)
            tally.seconds, began = tally.seconds + time.monotonic() - began, time.monotonic()
            tally.save()
            print(f"{tally.done} of {arguments.count}, {len(tally.findings)} findings", flush=True)
        write_findings(tally, chosen, arguments.out)
    rows = rows_of(tally, chosen)
    total = sum(row["findings"] for row in rows)
    command = command_line("campaigns.fuzz")
    known = environment("pydantic", "safetensors", "optuna", "diffusers")
    text = (
        "# Hostile files\n\n"
        f"{tally.done:,} inputs, seed {arguments.seed}, {tally.seconds:,.0f} s: {total} findings.\n\n"
        f"{markdown_table(rows, COLUMNS)}\n"
        f"{tally.listed()}Made with `{command}` on {machine(known)}.\n"
    )
    print(text)
    result = {"command": command, "environment": known, "rows": rows, "seconds": tally.seconds}
    write_result(arguments.out, result | {"options": options | {"count": tally.done}, "findings": tally.findings}, text)
    tally.finish()
    sys.exit(total > 0)


if __name__ == "__main__":
    main()
