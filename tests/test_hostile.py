"""Files from the internet: refused by name, before anything is allocated, run or written."""

from __future__ import annotations

import json
import shutil
import sqlite3
import struct
import time
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from deepcadence.cli import workload as cli_workload
from deepcadence.cli.console import printable
from deepcadence.cli.report_inputs import ImagesError, image_pairs
from deepcadence.cli.workload import PromptsError, read_prompts
from deepcadence.probe import LoadError, _meta, count_macs, load_pipeline
from deepcadence.schedules import ScheduleError, UnsupportedModelError, import_schedule
from deepcadence.search import HeldOut, SearchError, StudyResult
from deepcadence.search.storage import open_storage
from tests import tiny
from tests.reports import records


@pytest.mark.parametrize("text", [" " * 3_000_000 + "x", "[" + "1," * 1_000_000 + "x]", "1" * 5_000_000])
def test_a_step_mask_is_judged_in_no_time(text: str) -> None:
    began = time.process_time()
    with pytest.raises(ScheduleError, match=r"mask\.txt"):
        import_schedule(text, "cache-dit", source="mask.txt")
    assert time.process_time() - began < 5


def test_prompts_are_bounded_and_may_have_a_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes(b"\xef\xbb\xbfa cat\na dog\n")
    assert read_prompts(path) == ("a cat", "a dog")
    monkeypatch.setattr(cli_workload, "MAX_PROMPTS_BYTES", 10)
    with pytest.raises(PromptsError, match=r"prompts\.txt: found more than 10 bytes"):
        read_prompts(path)
    with pytest.raises(PromptsError, match="/dev/zero: found more than"):
        read_prompts(Path("/dev/zero"))


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e400", '"x"'])
def test_held_out_figures_are_finite(tmp_path: Path, value: str) -> None:
    path = tmp_path / "held-out.json"
    data = records.held_out().model_dump(mode="json", by_alias=True)
    data["chosen"]["psnr"]["mean"] = "HERE"
    path.write_text(json.dumps(data).replace('"HERE"', value))
    with pytest.raises(SearchError, match=r"held-out\.json: not a held-out measurement: chosen\.psnr\.mean: found"):
        HeldOut.load(path)


def study_file(path: Path, record: dict[str, Any] | None = None) -> Path:
    """A study with one trial, whose record may be changed."""
    import optuna

    result = records.study()
    model = {"model": result.model, "sampler": result.sampler}
    identity = {
        "metric": "psnr", "num_calls": 20, "steps": 20, "seeds": [0, 1], "space": {"cuts": [0]}, "fingerprint": "f",
        "macs": {"full": 9, "partial": {"0": 1}, "counter": "exact", "sample_shape": [1, 8, 8]},
    } | {name: info.model_dump(mode="json", by_alias=True) for name, info in model.items()}  # fmt: skip
    study = optuna.create_study(
        storage=open_storage(path), study_name="deepcadence", directions=("maximize", "minimize")
    )
    study.set_user_attr("deepcadence", identity)
    trial = study.ask()
    trial.set_user_attr("record", result.trials[0].model_dump(mode="json", exclude={"number"}) | (record or {}))
    study.tell(trial, (1.0, 1.0))
    return path


def test_a_study_with_figures_that_are_not_finite_is_refused(tmp_path: Path) -> None:
    assert len(StudyResult.from_storage(study_file(tmp_path / "good.db")).trials) == 1
    changes: list[tuple[dict[str, Any], str]] = [
        ({"psnr": float("nan")}, r"trials\[0\]\.psnr"),
        ({"mean_macs": 0}, r"trials\[0\]\.mean_macs"),
        ({"calls": [0, "full"]}, r"trials\[0\]\.calls"),
        ({"label": 3}, r"trials\[0\]\.label"),
    ]
    for number, (record, place) in enumerate(changes):
        with pytest.raises(SearchError, match=f"study 'deepcadence': {place}: found"):
            StudyResult.from_storage(study_file(tmp_path / f"{number}.db", record))


def test_only_tables_of_a_study_are_opened(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("not a database, but a text that is long enough to be taken for one" * 20)
    with pytest.raises(SearchError, match=r"text\.db: found no SQLite database"):
        StudyResult.from_storage(tmp_path / "text.db")
    with closing(sqlite3.connect(tmp_path / "other.db")) as database:
        database.execute("CREATE TABLE cats (name)")
    before = (tmp_path / "other.db").read_bytes()
    with pytest.raises(SearchError, match=r"other\.db: found no table of studies"):
        StudyResult.from_storage(tmp_path / "other.db")
    assert (tmp_path / "other.db").read_bytes() == before
    path = study_file(tmp_path / "evil.db")
    with closing(sqlite3.connect(path)) as database:
        database.execute("DROP TABLE trials")
        endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n"
        database.execute(f"CREATE VIEW trials AS {endless}")
    for opened in (StudyResult.from_storage, open_storage):  # a search opens what is to be gone on with
        with pytest.raises(SearchError, match=r"evil\.db: found a view 'trials', expected only the tables of a study"):
            opened(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers_per_block": 10**7}, "more than 3000 modules"),
        ({"sample_size": 10**12}, "config.json: sample_size: found 1000000000000"),
        ({"block_out_channels": [10**9, 32]}, "config.json: block_out_channels: found 1000000000"),
        ({"norm_eps": float("nan")}, "config.json: norm_eps: found NaN"),
        ({"sample_size": [3, 5, 7]}, "config.json"),
        ({"_class_name": "../../x"}, "_class_name: found"),
        ({"sample_size": None}, "config.json: the model's config has no sample_size"),
    ],
)
def test_configs_that_ask_for_too_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr(_meta, "_MAX_MODULES", 3000)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(tiny.unet2d().to_json_string()) | change))
    with pytest.raises((LoadError, TypeError, UnsupportedModelError), match=message):
        count_macs(path)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "ddim"
    tiny.ddim_pipeline().save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("unet/diffusion_pytorch_model.safetensors.index.json", {"weight_map": {"a": "../../x.safetensors"}},
         'weight_map: found "../../x.safetensors", expected a file in the same folder'),
        ("unet/model.safetensors.index.json", {"weight_map": {"a": 3}}, "weight_map: found 3"),
        ("unet/adapter_config.json", {"base_model_name_or_path": "../.."}, "an adapter of a model that lies elsewhere"),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": 10**10}, "num_train_timesteps: found 10000000000"),
    ],
)  # fmt: skip
def test_a_model_folder_leads_nowhere_else(
    model_folder: Path, tmp_path: Path, name: str, content: dict[str, Any], message: str
) -> None:
    folder = Path(shutil.copytree(model_folder, tmp_path / "model"))
    (folder / name).write_text(json.dumps(content))
    with pytest.raises(LoadError, match=message) as caught:
        load_pipeline(folder)
    assert name in str(caught.value)


LONG = 9_000 * "a"  # longer than any name of a file


def test_names_of_any_length_are_refused_in_a_short_sentence(model_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model_folder, tmp_path / "model"))
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"unet": [LONG, LONG]}))
    config = tmp_path / "config.json"
    config.write_text(json.dumps(json.loads(tiny.unet2d().to_json_string()) | {"act_fn": LONG}))
    held_out = json.loads(_written(records.held_out(), tmp_path / "held-out.json"))
    held_out["uniform"][LONG] = held_out["uniform"].pop("steps")
    (tmp_path / "held-out.json").write_text(json.dumps(held_out))
    for read, expected in (
        (lambda: load_pipeline(folder), LoadError),
        (lambda: load_pipeline(LONG), LoadError),
        (lambda: count_macs(config), LoadError),
        (lambda: HeldOut.load(tmp_path / "held-out.json"), SearchError),
        (lambda: open_storage(LONG + "/study.db"), SearchError),
    ):
        with pytest.raises(expected) as caught:
            read()
        assert len(str(caught.value)) < 1000


def _written(what: HeldOut, path: Path) -> str:
    what.save(path)
    return path.read_text()


def test_a_model_in_several_files_may_be_large(model_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model_folder, tmp_path / "model"))
    weights = folder / "unet/diffusion_pytorch_model.safetensors"
    names = dict.fromkeys(load_file(weights), "diffusion_pytorch_model-00001-of-00001.safetensors")
    weights.rename(weights.with_name("diffusion_pytorch_model-00001-of-00001.safetensors"))
    index = {"metadata": {"total_size": 10**11}, "weight_map": names}
    (folder / "unet/diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    load_pipeline(folder)


def png(width: int, height: int, data: bytes) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (png(60_000, 60_000, zlib.compress(b"\0" * 10**6)), "seed-0.png: "),
        (png(6_000, 6_000, b""), "seed-0.png: found 6000x6000 pixels"),
        (png(8, 8, b"\x78\x9c\xff"), "seed-0.png: cannot be read as a PNG"),
        (b"text", "seed-0.png: cannot be read as a PNG"),
    ],
)
def test_images_are_measured_before_they_are_unpacked(tmp_path: Path, content: bytes, message: str) -> None:
    for folder in ("without", "with"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "seed-0.png").write_bytes(content)
    with pytest.raises(ImagesError, match=message):
        image_pairs(tmp_path / "without", tmp_path / "with")


def test_no_control_character_reaches_the_terminal() -> None:
    assert printable("a\x1b]0;x\x07\nü\u202e") == "a\\x1b]0;x\\x07\nü\\u202e"
