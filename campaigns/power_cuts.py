"""Power cuts: each command is killed (SIGKILL) at random, and what it left behind is checked.

    python -m campaigns.power_cuts --count 240 --seed 0 --out reports/results/campaign-power-cuts

Half of the kills come at a random moment, half at a random file operation; one at an fsync takes a random part of what
was written with it, as a real power cut does. Afterwards every file must be the old one or the new one, whole; a study
must have every trial that was finished before, and go on; and what else is left must be hidden and end in .tmp. Every
few kills of a search it is let finish, and must be complete. What was done is kept, and the same command goes on there.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from optuna.trial import TrialState
from PIL import Image

from benchmarks.measuring import command_line, environment, machine, markdown_table, write_result
from campaigns.tally import Tally
from deepcadence.cli._app import app
from deepcadence.probe import Profile
from deepcadence.schedules import Schedule
from deepcadence.search import HeldOut, StudyResult, study
from deepcadence.search.objective import is_search
from deepcadence.search.storage import RECORD, reading
from tests import tiny

TRIALS = 3
RESUMED_AFTER = 5  # kills of one study, then it is let finish
_HIDDEN = re.compile(r"\..+\.[0-9a-f]{12}\.tmp")
_WRITES = {"open", "os.rename", "os.remove", "os.mkdir", "os.chmod"}
COLUMNS = {
    "command": ("command", "s"),
    "commands": ("commands", "d"),
    "old": ("all files as before", "d"),
    "new": ("some files new", "d"),
    "ended": ("ended before the kill", "d"),
    "temporary": ("temporary files left, hidden", "d"),
    "findings": ("findings", "d"),
}


@dataclass(frozen=True)
class Job:
    """A command to kill.

    Attributes:
        name: of the command.
        share: how many kills of a hundred it gets.
        words: its arguments, by a number that makes the new files differ from the old ones.
    """

    name: str
    share: int
    words: Callable[[int], Sequence[str]]


JOBS = (
    Job("probe", 20, lambda n: f"probe model --steps 4 --seeds {2 + n % 2} --device cpu -o new.safetensors".split()),
    Job(
        "search",
        35,
        lambda _: (
            "search model --profile profile.safetensors --target-speedup 1.3 --storage sqlite:///study.db "
            f"--trials {TRIALS} --seeds 2 --held-out 3 --device cpu -o found.json"
        ).split(),
    ),
    Job(
        "report",
        15,
        lambda n: (
            f"report --profile profile.safetensors --schedule {'ab'[n % 2]}.json -o report.html "
            "--figures figures --format svg,pdf,png"
        ).split(),
    ),
    Job(
        "generate", 15, lambda n: f"generate model --schedule {'ab'[n % 2]}.json --seed 0 --seed 1 --device cpu".split()
    ),
    Job("schedule new", 5, lambda n: f"schedule new --calls {50 + n % 2} --interval 5 -o c.json".split()),
    Job("schedule resample", 5, lambda n: f"schedule resample a.json --calls {8 + n % 2} -o d.json".split()),
    Job("schedule export", 5, lambda n: f"schedule export {'ab'[n % 2]}.json --to deepcache -o e.json".split()),
)


def prepare(work: Path) -> None:
    """What the commands read: a model, a profile, two schedules."""
    tiny.ddim_pipeline().save_pretrained(work / "model")
    for words in (
        "probe model --steps 4 --seeds 2 --device cpu -o profile.safetensors",
        "schedule new --calls 4 --interval 2 -o a.json",
        "schedule new --calls 4 --interval 4 -o b.json",
    ):
        if status := in_child(lambda words=words: command(work, words.split())):  # type: ignore[misc]
            sys.exit(f"{words}: ended with {status}")


def command(work: Path, words: Sequence[str]) -> None:
    """Run the command in this process, silently; trials that a search has acknowledged go to a file as it does so."""
    os.chdir(work)
    tell = study._Worker._tell

    def acknowledged(self: Any, of: Any, trial: Any) -> None:
        tell(self, of, trial)
        if trial.state == TrialState.COMPLETE:
            with (work / "acknowledged").open("a") as file:
                file.write(f"{trial.number}\n")

    study._Worker._tell = acknowledged  # type: ignore[method-assign, assignment]
    warnings.simplefilter("ignore")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        app(list(words), standalone_mode=False)


def in_child(do: Callable[[], None], kill_after: float | None = None) -> int:
    """The exit status of `do` in a forked process: 0, -9 where it was killed, 1 where it raised."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            do()
            status = 0
        except BaseException as error:  # noqa: BLE001 - the parent is told
            sys.__stderr__.write(f"{type(error).__name__}: {error}\n") if sys.__stderr__ else None
        os._exit(status)
    end = None if kill_after is None else time.monotonic() + kill_after
    while True:
        done, status = os.waitpid(child, os.WNOHANG if end is not None else 0)
        if done:
            return os.waitstatus_to_exitcode(status)
        if end is not None and time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            end = None
        time.sleep(0.002)


class Operations:
    """File operations of this process inside `work`, counted; before the one of number `deadly` it is killed.

    At an fsync only `part` of the file stays, which is what a power cut may leave of what was not synced.
    """

    def __init__(self, work: Path, deadly: int = 0, part: float = 1.0) -> None:
        self.seen, self._deadly, self._part, self._inside = 0, deadly, part, str(work)
        self._sync = os.fsync
        os.fsync = self._fsync  # type: ignore[assignment]
        sys.addaudithook(self._audit)

    def _next(self, descriptor: int | None = None) -> None:
        self.seen += 1
        if self.seen == self._deadly:
            if descriptor is not None:
                os.ftruncate(descriptor, int(os.fstat(descriptor).st_size * self._part))
            os.kill(os.getpid(), signal.SIGKILL)

    def _fsync(self, descriptor: int) -> None:
        self._next(descriptor)
        self._sync(descriptor)

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if event not in _WRITES or not isinstance(args[0], str | os.PathLike):
            return
        reads = event == "open" and not (isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR))
        path = os.path.join(self._inside, args[0])  # noqa: PTH118 - the audited ones are strings
        if not reads and path.startswith(self._inside) and not path.endswith("/acknowledged"):
            self._next()


def rehearse(job: Job, work: Path) -> tuple[float, int]:
    """Seconds and file operations of a whole run of a job, in a copy of the folder."""
    copy = work.with_name("rehearsal")
    shutil.copytree(work, copy)

    def run() -> None:
        operations = Operations(copy)
        command(copy, job.words(0))
        (copy / "operations").write_text(str(operations.seen))

    began = time.monotonic()
    if status := in_child(run):
        sys.exit(f"{job.name}: ended with {status} without a kill")
    found = time.monotonic() - began, int((copy / "operations").read_text())
    shutil.rmtree(copy)
    return found


def kill(job: Job, work: Path, dice: random.Random, seconds: float, operations: int) -> int:
    """Run a job and kill it; its exit status."""
    words = job.words(dice.randrange(2))
    if dice.random() < 0.5:
        return in_child(lambda: command(work, words), kill_after=dice.uniform(0, seconds))
    deadly, part = dice.randint(1, operations), dice.choice((0.0, 1.0, dice.random()))

    def run() -> None:
        Operations(work, deadly, part)
        command(work, words)

    return in_child(run)


def files_of(work: Path) -> dict[str, str]:
    """Name and hash of each file, but for the study and what belongs to it."""
    return {
        path.relative_to(work).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(work.rglob("*"))
        if path.is_file() and not path.name.startswith("study.db") and path.name != "acknowledged"
    }


def check_files(work: Path, before: Mapping[str, str]) -> tuple[int, int]:
    """How many files are new, and how many temporary ones were left (they are removed); raises where one is broken."""
    new = temporary = 0
    for name, digest in files_of(work).items():
        if _HIDDEN.fullmatch(Path(name).name):
            (work / name).unlink()
            temporary += 1
        elif before.get(name) != digest:
            check_whole(work / name)
            new += 1
    missing = [name for name in before if not (work / name).exists()]
    if missing:
        raise ValueError(f"{missing[0]} is gone")
    return new, temporary


def check_whole(path: Path) -> None:
    """Raise unless a new file is one of those that the commands write, to its end."""
    if path.name.endswith(".held-out.json"):
        HeldOut.load(path)
    elif path.name == "e.json":
        json.loads(path.read_text())
    elif path.suffix == ".json":
        Schedule.load(path)
    elif path.suffix == ".safetensors":
        Profile.load(path)
    elif path.suffix == ".svg":
        ET.parse(path)
    elif path.suffix == ".png":
        with Image.open(path) as image:
            image.load()
    else:
        ends = {".html": b"</html>", ".pdf": b"%%EOF\n", ".csv": b"\r\n"}
        if path.suffix not in ends or not path.read_bytes().endswith(ends[path.suffix]):
            raise ValueError(f"{path.name} is not whole, or a file that nobody expects")


def check_study(work: Path) -> None:
    """Raise unless all trials that were acknowledged, or seen in an earlier check, are in the study as they were."""
    path, seen = work / "study.db", work.with_name("seen.json")
    known: dict[str, Any] = json.loads(seen.read_text()) if seen.exists() else {}
    acknowledged = (work / "acknowledged").read_text().split() if (work / "acknowledged").exists() else []
    found: dict[str, Any] = {}
    with contextlib.suppress(FileNotFoundError) if not known and not acknowledged else contextlib.nullcontext():
        if not path.exists():
            raise FileNotFoundError(path)
        try:
            with reading(path, "deepcadence") as study:
                trials = study.get_trials(deepcopy=False)
        except ValueError:
            if known or acknowledged:  # else the kill came before the study was made
                raise
            trials = []
        found = {str(t.number): t.user_attrs[RECORD] for t in trials if t.state == TrialState.COMPLETE}
    lost = [
        number
        for number in {*known, *acknowledged}
        if number not in found or known.get(number, found[number]) != found[number]
    ]
    if lost:
        raise ValueError(f"trial {lost[0]} was finished, and is lost or changed")
    seen.write_text(json.dumps(found))


def finish_study(work: Path) -> None:
    """Let the search end, check that it is complete, and begin another."""
    (search,) = (job for job in JOBS if job.name == "search")
    command(work, search.words(0))
    check_study(work)
    StudyResult.from_storage(work / "study.db")
    with reading(work / "study.db", "deepcadence") as study:
        trials = study.get_trials(deepcopy=False)
    states = [trial.state for trial in trials]
    searched = sum(is_search(trial) and trial.state == TrialState.COMPLETE for trial in trials)
    if TrialState.RUNNING in states or TrialState.WAITING in states or searched != TRIALS:
        raise ValueError(f"the study that was let finish has {searched} trials of {TRIALS}")
    HeldOut.load(work / "found.held-out.json")


def forget_study(work: Path) -> None:
    """So that the next search begins anew."""
    for path in (*work.glob("study.db*"), work / "acknowledged", work.with_name("seen.json")):
        path.unlink(missing_ok=True)


def one(index: int, work: Path, tally: Tally, spans: Mapping[str, tuple[float, int]]) -> None:
    """One kill of one of the jobs in `spans`, and its checks."""
    dice = random.Random(f"{tally.options['seed']}:{index}")
    jobs = [job for job in JOBS if job.name in spans]
    (job,) = dice.choices(jobs, [each.share for each in jobs])
    before = files_of(work)
    status = kill(job, work, dice, *spans[job.name])
    tally.counts[f"{job.name}/ended"] += status == 0
    try:
        if status not in (0, -signal.SIGKILL):
            raise ValueError(f"ended with {status}")
        new, temporary = check_files(work, before)
        tally.counts[f"{job.name}/temporary"] += temporary
        outcome = "new" if new else "old"
        if job.name == "search":
            checked(work, check_study)
            tally.counts["search/since"] += 1
            if tally.counts["search/since"] % RESUMED_AFTER == 0:
                checked(work, finish_study)
                forget_study(work)
        tally.add(index, job.name, outcome)
    except Exception as error:  # noqa: BLE001 - what a kill must not bring about
        tally.add(index, job.name, "finding", f"{type(error).__name__}: {error}"[:500])
        forget_study(work)


def checked(work: Path, check: Callable[[Path], None]) -> None:
    """A check that opens the database, in a process of its own: connections must not be there when it is forked."""
    message = work.with_name("message")
    message.unlink(missing_ok=True)

    def run() -> None:
        try:
            check(work)
        except Exception as error:
            message.write_text(f"{type(error).__name__}: {error}")
            raise

    if in_child(run):
        raise ValueError(message.read_text() if message.exists() else f"{check.__name__} did not end")


def rows_of(tally: Tally) -> list[dict[str, Any]]:
    """One row per command."""
    rows = []
    for job in JOBS:
        counts = {kind: tally.count(job.name, kind) for kind in ("old", "new", "ended", "temporary")}
        findings = tally.count(job.name, "finding")
        commands = counts["old"] + counts["new"] + findings
        rows.append({"command": job.name, "commands": commands, "findings": findings} | counts)
    return rows


def main() -> None:
    """Read the arguments, kill, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200, help="commands in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", help="only these commands")
    parser.add_argument("--out", type=Path, required=True, help="write PATH.json and PATH.md")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # forked processes have one thread
    began = time.monotonic()
    tally = Tally(arguments.out, {"seed": arguments.seed, "only": arguments.only})
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder, "work")
        work.mkdir()
        prepare(work)
        spans = {job.name: rehearse(job, work) for job in JOBS if not arguments.only or job.name in arguments.only}
        while tally.done < arguments.count:
            one(tally.done, work, tally, spans)
            tally.seconds, began = tally.seconds + time.monotonic() - began, time.monotonic()
            tally.save()
            print(f"{tally.done} of {arguments.count}, {len(tally.findings)} findings", flush=True)
    rows = rows_of(tally)
    known = environment("diffusers", "optuna")
    line = command_line("campaigns.power_cuts")
    total = sum(row["findings"] for row in rows)
    killed = tally.done - sum(row["ended"] for row in rows)
    finished = tally.counts["search/since"] // RESUMED_AFTER
    text = (
        "# Power cuts\n\n"
        f"{tally.done} commands, {killed} of them killed, seed {arguments.seed}, {tally.seconds:,.0f} s: "
        f"{total} findings. "
        f"Studies that were let finish after {RESUMED_AFTER} kills each: {finished}.\n\n"
        f"{markdown_table(rows, COLUMNS)}\n{tally.listed()}"
        f"Made with `{line}` on {machine(known)}.\n"
    )
    print(text)
    result = {"command": line, "environment": known, "rows": rows, "seconds": tally.seconds, "studies": finished}
    write_result(arguments.out, result | {"options": tally.options, "findings": tally.findings}, text)
    tally.finish()
    sys.exit(total > 0)


if __name__ == "__main__":
    main()
