"""Files from the internet: refused by name, before anything is allocated, run or written."""

from __future__ import annotations

import json
import os
import resource
import shutil
import sqlite3
import struct
import time
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from deepcadence.cli import workload as cli_workload
from deepcadence.cli.console import printable
from deepcadence.cli.report_inputs import ImagesError, image_pairs
from deepcadence.cli.workload import PromptsError, read_prompts
from deepcadence.probe import LoadError, _meta, count_macs, load_pipeline
from deepcadence.probe._allocations import allocating_at_most
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
        ({"calls": ["full", 20]}, r"trials\[0\]\.calls: found cut 20, expected one that the study names and counts \("),
    ]
    for number, (record, place) in enumerate(changes):
        with pytest.raises(SearchError, match=f"study 'deepcadence': {place}(: found)?"):
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


@pytest.fixture
def sd(sd_folder: Path, tmp_path: Path) -> Path:
    """A fresh copy of Stable Diffusion's folder, to be made hostile."""
    return Path(shutil.copytree(sd_folder, tmp_path / "sd"))


def change(path: Path, **entries: Any) -> None:
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(content | entries))


def code(marker: Path, base: str) -> str:
    """Python that leaves a trace where it is run."""
    return f"open({str(marker)!r}, 'w').close()\nfrom diffusers import {base} as Evil\n"


@pytest.mark.parametrize("class_name", ["DiffusionPipeline", "FlaxDiffusionPipeline", "DDPMPipeline", "AutoModel"])
def test_a_component_that_loads_components_of_its_own_is_refused(sd: Path, tmp_path: Path, class_name: str) -> None:
    marker = tmp_path / "ran"
    change(sd / "model_index.json", unet=["diffusers", class_name])
    shutil.rmtree(sd / "unet")
    (sd / "unet/unet").mkdir(parents=True)
    (sd / "unet/unet/evil.py").write_text(code(marker, "UNet2DModel"))
    nested = {"_class_name": "DDPMPipeline", "unet": ["evil", "Evil"], "scheduler": ["diffusers", "DDPMScheduler"]}
    (sd / "unet/model_index.json").write_text(json.dumps(nested))
    shutil.copytree(sd / "scheduler", sd / "unet/scheduler")
    with pytest.raises(LoadError, match=r"unet: found .*, expected a model, a sampler, a tokenizer or a processor"):
        load_pipeline(sd)
    assert not marker.exists()


def test_a_pipeline_inside_a_pipeline_and_code_at_any_depth_are_refused(sd: Path) -> None:
    (sd / "unet/deep").mkdir()
    (sd / "unet/deep/model_index.json").write_text("{}")
    with pytest.raises(LoadError, match=r"deep/model_index\.json: found a pipeline inside the pipeline"):
        load_pipeline(sd)
    (sd / "unet/deep/model_index.json").unlink()
    (sd / "unet/deep/diffusers.py").write_text("raise SystemExit")
    with pytest.raises(LoadError, match=r"deep/diffusers\.py: found code in place of diffusers"):
        load_pipeline(sd)


def test_a_pipeline_that_fetches_others_is_refused(sd: Path) -> None:
    change(sd / "model_index.json", _class_name="KandinskyCombinedPipeline")
    with pytest.raises(LoadError, match="_class_name: found 'KandinskyCombinedPipeline', expected a pipeline that"):
        load_pipeline(sd)


def test_a_component_lies_in_a_folder_of_its_name(sd: Path) -> None:
    change(sd / "model_index.json", **{"../sd/unet": ["diffusers", "UNet2DConditionModel"]})
    with pytest.raises(LoadError, match=r"\.\./sd/unet: found .* expected the name of a component"):
        load_pipeline(sd)


@pytest.mark.parametrize(
    "name", ["tokenizer/tokenizer_config.json", "tokenizer/preprocessor_config.json", "text_encoder/config.json"]
)
def test_nobody_is_asked_whether_to_run_code(sd: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked"))
    change(sd / "model_index.json", tokenizer=["transformers", "LlavaProcessor"])
    change(sd / name, deep=[{"auto_map": {"AutoTokenizer": ["evil.Evil", None]}}])
    (sd / "tokenizer/evil.py").write_text("raise SystemExit")
    with pytest.raises(LoadError, match=f"{name}: auto_map: found .* code that comes with a model is never run"):
        load_pipeline(sd)


@pytest.mark.parametrize(
    ("name", "entries", "message"),
    [
        ("tokenizer/tokenizer_config.json", {"fast_tokenizer_files": ["../../secret/tokenizer.4.0.0.json"]},
         "fast_tokenizer_files: found"),
        ("tokenizer/tokenizer_config.json", {"vocab_file": "/etc/passwd", "merges_file": "merges.txt"}, "vocab_file: "),
        ("tokenizer/tokenizer_config.json", {"merges_file": "..\\secret"}, "merges_file: found"),
        ("text_encoder/config.json", {"configuration_files": ["../config.4.0.0.json"]}, "configuration_files: found"),
        ("text_encoder/config.json", {"_attn_implementation": "someone/kernel"}, "no code from the hub"),
        ("text_encoder/model.safetensors.index.fp16.json", {"weight_map": {"a": "../../secret.safetensors"}},
         "weight_map: found"),
        ("text_encoder/model.safetensors.index.json", {"weight_map": {"a": "..\\secret.safetensors"}},
         "weight_map: found"),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": 10**7}, "num_train_timesteps: found 10000000"),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": float("inf")}, "num_train_timesteps: found "),
    ],
)  # fmt: skip
def test_settings_that_lead_elsewhere_or_ask_for_too_much(
    sd: Path, name: str, entries: dict[str, Any], message: str
) -> None:
    change(sd / name, **entries)
    with pytest.raises(LoadError, match=message) as caught:
        load_pipeline(sd)
    assert name in str(caught.value)


def test_what_a_tokenizer_was_saved_from_does_no_harm(sd: Path) -> None:
    change(sd / "tokenizer/tokenizer_config.json", special_tokens_map_file="/root/special_tokens_map.json")
    load_pipeline(sd)


@pytest.mark.parametrize("name", ["unet/config.json", "text_encoder/model.safetensors", "vae", "model_index.json"])
def test_links_out_of_a_model_folder_are_refused(sd: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").mkdir()
    moved = (sd / name).rename(tmp_path / "secret" / Path(name).name)
    (sd / name).symlink_to(moved)
    with pytest.raises(LoadError, match=f"{name}: found a link that leads out of the model's folder"):
        load_pipeline(sd)


@pytest.mark.parametrize("target", [".", ".hidden"])
def test_links_to_what_is_not_checked_are_refused(sd: Path, target: str) -> None:
    (sd / ".hidden").mkdir()
    (sd / "image_encoder").symlink_to(target)
    with pytest.raises(LoadError, match="image_encoder: found a link"):
        load_pipeline(sd)


def test_a_cache_of_the_hub_leads_only_into_its_own_blobs(sd: Path, tmp_path: Path) -> None:
    other = tmp_path / "models--b--b/blobs/1"
    other.parent.mkdir(parents=True)
    (sd / "unet/config.json").rename(other)
    (sd / "unet/config.json").symlink_to(other)
    snapshot = tmp_path / "models--a--a/snapshots/abc"
    snapshot.parent.mkdir(parents=True)
    sd.rename(snapshot)
    with pytest.raises(LoadError, match=r"unet/config\.json: found a link"):
        load_pipeline(snapshot)


@pytest.mark.parametrize("name", ["unet/config.json", "tokenizer/tokenizer_config.json", "text_encoder/x.index.json"])
def test_a_pipe_is_never_opened(sd: Path, name: str) -> None:
    (sd / name).unlink(missing_ok=True)
    os.mkfifo(sd / name)
    with pytest.raises(LoadError, match=f"{name}: found a pipe, a socket or a device, expected a regular file"):
        load_pipeline(sd)


def test_a_device_is_never_opened(sd: Path) -> None:
    (sd / "unet/config.json").unlink()
    (sd / "unet/config.json").symlink_to("/dev/zero")
    with pytest.raises(LoadError, match=r"unet/config\.json: found a link"):
        load_pipeline(sd)


def test_folders_without_end_are_refused(sd: Path) -> None:
    (sd / "/".join("a" * 20)).mkdir(parents=True)
    with pytest.raises(LoadError, match="found more than 10 folders in each other"):
        load_pipeline(sd)
    change(sd / "unet/config.json", deep=json.loads(60 * "[" + 60 * "]"))
    shutil.rmtree(sd / "a")
    with pytest.raises(LoadError, match="found more than 50 levels"):
        load_pipeline(sd)


def without(path: Path, part: str) -> None:
    """Save the weights again without those whose names hold `part`."""
    weights = {name: value for name, value in load_file(path).items() if part not in name}
    save_file(weights, path, metadata={"format": "pt"})


@pytest.mark.parametrize("entry", ["vocab_size", "max_position_embeddings"])
@pytest.mark.parametrize("lacking", [True, False])
def test_a_text_encoder_cannot_fill_memory(sd: Path, entry: str, lacking: bool) -> None:
    change(sd / "text_encoder/config.json", **{entry: 10**7})
    if lacking:
        without(sd / "text_encoder/model.safetensors", "embedding.weight")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(LoadError):
        load_pipeline(sd)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 600_000  # KiB; its tensor is of 1,250,000


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.empty(5, 5),
        lambda: torch.zeros((5, 5)),
        lambda: torch.full((5, 5), 1.0),
        lambda: torch.randn(5, 5),
        lambda: torch.randint(0, 9, (5, 5)),
        lambda: torch.arange(25),
        lambda: torch.arange(0, 50, 2),
        lambda: torch.linspace(0, 1, 25),
        lambda: torch.eye(5),
        lambda: torch.empty_like(torch.empty(5, 5, device="meta"), device="cpu"),
        lambda: torch.empty(1).new_zeros(25),
        lambda: torch.ones(2).repeat(12),
    ],
)
def test_allocations_are_counted_before_they_are_made(make: Any) -> None:
    with allocating_at_most(30):
        torch.empty(100, device="meta").clone()
        make()
    with allocating_at_most(24), pytest.raises(RuntimeError, match="more than 24 elements in all"):
        make()
