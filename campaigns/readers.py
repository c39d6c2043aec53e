"""Everything that reads a file from outside, each with real files to begin from, and what equal means for it."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from campaigns.mutations import mutate, mutate_json, mutate_safetensors
from deepcadence.cli.foreign import read_foreign
from deepcadence.cli.images import write_image
from deepcadence.cli.report_inputs import image_pairs
from deepcadence.cli.workload import read_prompts
from deepcadence.probe import Profile, Workload, bundled, count_macs, load_pipeline
from deepcadence.probe.pictures import to_pil
from deepcadence.reports import render_report
from deepcadence.schedules import Schedule, export_schedule, uniform
from deepcadence.search import HeldOut, StudyResult, StudySettings, join_study, run_study
from deepcadence.search.storage import storage_url
from tests import tiny
from tests.reports import records

__all__ = ["Reader", "copy_folder", "light_readers", "readers"]

Change = Callable[[bytes, random.Random, Sequence[bytes]], bytes]


@dataclass(frozen=True)
class Reader:
    """One reader.

    Attributes:
        name: of the reader.
        share: how many inputs of a thousand it gets.
        corpus: real files.
        change: makes a hostile file of one.
        read: reads the file at a path; raises `DeepcadenceError`, or returns what was read.
        again: whether what was read is equal to itself once it was written to that path and read again.
        place: where in the folder the file lies.
        folder: what lies beside it.
        named: whether its errors must name the file.
    """

    name: str
    share: int
    corpus: tuple[bytes, ...]
    change: Change
    read: Callable[[Path], Any]
    again: Callable[[Any, Path], bool]
    place: str = "input"
    folder: Path | None = None
    named: bool = True


def light_readers(work: Path) -> list[Reader]:
    """Those whose real files are made at once; what they need beside the inputs is made in `work`."""
    schedules = [each.dumps().encode() for each in _schedules()]
    profiles = _written(work, [records.profile(calls=3), records.profile(calls=5, prompts=("a cat", "a dog"))])
    held_out = _written(work, [records.held_out()])
    cache_dit = [b"1110100", b"[1, 0, 0, 1]", _foreign("cache-dit")]
    return [
        Reader("schedule", 298, tuple(schedules), mutate_json, Schedule.load, _saved(Schedule.load)),
        Reader("profile", 150, profiles, mutate_safetensors, Profile.load, _same_profile),
        Reader("held-out", 150, held_out, mutate_json, HeldOut.load, _saved(HeldOut.load)),
        Reader("prompts", 50, _PROMPTS, mutate, read_prompts, _same_prompts),
        Reader("cache-dit", 75, tuple(cache_dit), mutate_json, partial(read_foreign, origin="cache-dit"), _imported),
        Reader(
            "smoothcache", 75, (_foreign("smoothcache"),), mutate_json,
            partial(read_foreign, origin="smoothcache"), _imported,
        ),
        Reader(
            "cache-dit, YAML", 20, _YAML, mutate, partial(read_foreign, origin="cache-dit"), _imported, "input.yaml"
        ),
        Reader("storage-url", 50, _URLS, mutate, _url, lambda url, _: storage_url(url) == url, named=False),
        Reader("image", 50, _images(work), mutate, _pairs, _same_pairs, "with/seed-0.png", _image_folder(work)),
        Reader("config", 5, tuple(_configs()), mutate_json, count_macs, _same_macs, "config.json"),
    ]  # fmt: skip


def readers(work: Path) -> list[Reader]:
    """All of them."""
    schedules = tuple(each.dumps().encode() for each in _schedules())
    return [
        *light_readers(work),
        Reader("study", 10, (study := _study(work),), _change_database, _read_study, _same(_read_study), "study.db"),
        Reader("study, gone on with", 1, (study,), _change_database, _go_on, lambda *_: True, "study.db"),
        *_models(work),
        Reader("report", 1, schedules, mutate_json, partial(_report, work), _same(partial(_report, work))),
    ]


_PROMPTS = (b"a cat\na dog\n", "ein Bär\r\n\r\n  zwei Bären\n".encode(), b"\xef\xbb\xbfa cat\n")
_YAML = (
    b"cache_config:\n  steps_computation_mask: [1, 0, 0, 1]\n  steps_computation_policy: static\n",
    b"{cache_config: {steps_computation_mask: [1, 1, 0], steps_computation_policy: 'static', Fn_compute_blocks: 1}}\n",
    b"a: &a !!bool yes\nb: *a\nc: !!int '7'\nd: !!timestamp 2026-01-01\ne: !!binary aGk=\n? {f: 1}\n: !!null x\n",
)
_URLS = (b"sqlite:///study.db", b"study.db", b"postgresql+psycopg://me:secret@host:5432/db?sslmode=require")


def _schedules() -> Iterable[Schedule]:
    yield records.schedule()
    yield uniform(50, 5, 0)
    yield uniform(12, 3, 2).extrapolated(2, 0.5)
    yield uniform(12, 4, 1).adaptive(0.1, 3)
    yield Schedule.load(Path(__file__).parents[1] / "reports/results/demo/schedule.json")


def _foreign(kind: Any) -> bytes:
    return export_schedule(uniform(20, 3, 0), kind).text.encode()


def _written(work: Path, things: Iterable[Any]) -> tuple[bytes, ...]:
    found = []
    for thing in things:
        thing.save(work / "written")
        found.append((work / "written").read_bytes())
    return tuple(found)


def _saved(load: Callable[[Path], Any]) -> Callable[[Any, Path], bool]:
    def same(thing: Any, path: Path) -> bool:
        thing.save(path)
        written = path.read_bytes()
        found = load(path)
        found.save(path)
        return bool(found == thing) and path.read_bytes() == written

    return same


def _same(read: Callable[[Path], Any]) -> Callable[[Any, Path], bool]:
    """For what nothing writes: reading the same file again gives the same."""
    return lambda found, path: bool(read(path) == found)


def _same_profile(profile: Profile, path: Path) -> bool:
    profile.save(path)
    found = Profile.load(path)
    names = [name for name in Profile.__dataclass_fields__ if name != "meta"]
    pairs = [(getattr(profile, name), getattr(found, name)) for name in names]
    return found.meta == profile.meta and all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in pairs)


def _same_pairs(found: Any, path: Path) -> bool:
    pairs = zip(found.pairs, _pairs(path).pairs, strict=True)
    return all(np.array_equal(value, vars(other)[name]) for one, other in pairs for name, value in vars(one).items())


def _same_prompts(prompts: tuple[str, ...], path: Path) -> bool:
    path.write_text("\n".join(prompts), encoding="utf-8")
    return read_prompts(path) == prompts


def _imported(imported: Any, path: Path) -> bool:
    return _saved(Schedule.load)(imported.schedule, path)


def _same_macs(counted: Any, path: Path) -> bool:
    return bool(count_macs(path) == counted) and counted.full > 0


def _url(path: Path) -> str:
    text = path.read_bytes().decode("utf-8", "replace")
    return storage_url(text)


def _images(work: Path) -> tuple[bytes, ...]:
    found = []
    for channels in (1, 3):
        write_image(to_pil(records.images(count=1, side=16, channels=channels)[1][0]), work / "image.png")
        found.append((work / "image.png").read_bytes())
    return tuple(found)


def _image_folder(work: Path) -> Path:
    (work / "images/without").mkdir(parents=True)
    (work / "images/with").mkdir()
    write_image(to_pil(records.images(count=1, side=16)[0][0]), work / "images/without/seed-0.png")
    return work / "images"


def _pairs(path: Path) -> Any:
    return image_pairs(path.parents[1] / "without", path.parent)


def _configs() -> Iterable[bytes]:
    for make in (tiny.unet2d, tiny.unet2d_condition, tiny.dit, tiny.sd3):
        yield json.dumps(json.loads(make().to_json_string())).encode()
    yield (bundled.path() / "unet/config.json").read_bytes()


def _searched(path: Path, trials: int) -> Any:
    workload = Workload(tiny.ddim_pipeline(), steps=6, seeds=(0, 1), batch_size=2)
    return run_study(
        workload, storage=path, trials=trials, max_uniform=2, max_published=1, max_predicted=0, fewer_steps=(3,)
    )


def _study(work: Path) -> bytes:
    """A small study, finished."""
    _searched(work / "real.db", trials=2)
    return (work / "real.db").read_bytes()


def _go_on(path: Path) -> Any:
    """A search takes the study up, and so does a worker."""
    result = _searched(path, trials=3)
    join_study(Workload(tiny.ddim_pipeline(), steps=6, seeds=(0, 1), batch_size=2).pipeline, path)
    return result


def _change_database(data: bytes, dice: random.Random, _: Sequence[bytes] = ()) -> bytes:
    """One cell of one table changed, a table dropped or turned into a view, or bytes changed at random."""
    if dice.random() < 1 / 4:
        return mutate(data, dice)
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        database.deserialize(data)
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        table = dice.choice(sorted(tables))
        if dice.random() < 0.05:
            database.execute(f'DROP TABLE "{table}"')
            if dice.random() < 0.5:
                endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n"
                database.execute(f'CREATE VIEW "{table}" AS {endless}')
            return database.serialize()
        rows = database.execute(f'SELECT rowid, * FROM "{table}"')  # noqa: S608 - names of our own tables
        columns, cells = [column[0] for column in rows.description], rows.fetchall()
        if cells:
            row, column = dice.choice(cells), dice.randrange(1, len(columns))
            value = row[column]
            text = value.encode() if isinstance(value, str) else b""
            changed = (
                mutate_json(text, dice).decode("utf-8", "replace")
                if text
                else dice.choice((None, -1, 0, 2**63 - 1, 1.5, "x", b"\xff", 10**6))
            )
            database.execute("PRAGMA ignore_check_constraints = 1")
            statement = f'UPDATE OR REPLACE "{table}" SET "{columns[column]}" = ? WHERE rowid = ?'  # noqa: S608
            try:
                database.execute(statement, (changed, row[0]))
            except sqlite3.IntegrityError:  # a cell that may not be empty
                return mutate(data, dice)
        return database.serialize()


def _read_study(path: Path) -> Any:
    result = StudyResult.from_storage(path)
    return result, StudySettings.from_storage(path), result.front(), result.predictor_words, result.search_cost


def _models(work: Path) -> Iterable[Reader]:
    """Folders of pipelines, in which one file is hostile."""
    folder = work / "model"
    tiny.sd_pipeline().save_pretrained(folder)
    for place, change in (
        ("model_index.json", mutate_json),
        ("unet/config.json", mutate_json),
        ("text_encoder/config.json", mutate_json),
        ("scheduler/scheduler_config.json", mutate_json),
        ("vae/config.json", mutate_json),
        ("vae/diffusion_pytorch_model.safetensors", mutate_safetensors),
        ("text_encoder/model.safetensors", mutate_safetensors),
        ("tokenizer/tokenizer_config.json", mutate_json),
        ("tokenizer/tokenizer.json", mutate_json),
    ):
        corpus = ((folder / place).read_bytes(),)
        yield Reader(f"model: {place}", 1, corpus, change, _load_model, _same(_load_model), place, folder)


def _load_model(path: Path) -> dict[str, Any]:
    """Class and weights of each component, the weights as a hash."""
    folder = next(each for each in path.parents if (each / "unet").is_dir())
    found: dict[str, Any] = {}
    for name, part in load_pipeline(folder).components.items():
        weights = part.state_dict() if isinstance(part, torch.nn.Module) else {}
        digest = hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in weights.values()))
        found[name] = type(part), digest.hexdigest()
    return found


def _report(work: Path, path: Path) -> str:
    """A page from records whose text and numbers were changed, as far as they are valid."""
    dice = random.Random(path.read_bytes())
    sources: dict[str, Any] = {}
    for name in ("profile", "study", "held_out", "schedule"):
        thing = getattr(records, name)()
        with tempfile.TemporaryDirectory(dir=work) as folder:
            target = Path(folder, "input")
            sources[name] = _nearly(thing, dice, target)
    page = render_report(**sources)
    if page.count("<script") != 1 + ('id="front-points"' in page) or "<img src=x" in page:
        raise ValueError("text from outside became a part of the page")
    return page


def _nearly(thing: Any, dice: random.Random, path: Path) -> Any:
    """What was read after a few tries at changing it; the thing itself where none is valid."""
    from deepcadence.schedules import DeepcadenceError

    for _ in range(5):
        try:
            if isinstance(thing, StudyResult):
                return StudyResult.model_validate_json(mutate_json(thing.model_dump_json(by_alias=True).encode(), dice))
            thing.save(path)
            change = mutate_safetensors if isinstance(thing, Profile) else mutate_json
            path.write_bytes(change(path.read_bytes(), dice))
            return type(thing).load(path)
        except (DeepcadenceError, ValueError):
            continue
    return thing


def copy_folder(reader: Reader, target: Path) -> Path:
    """The reader's folder in `target`, and the path in it where inputs go."""
    if reader.folder is not None:
        shutil.copytree(reader.folder, target, dirs_exist_ok=True)
    path = target / reader.place
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
