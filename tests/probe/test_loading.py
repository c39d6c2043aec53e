"""Loading pipelines: what works, what is refused, and what the errors say."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import T5Config, T5EncoderModel

from deepcadence.probe import LoadError, load_denoiser_config, load_pipeline
from deepcadence.schedules import MissingExtraError
from tests import tiny


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny.ddim_pipeline().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def edit_index(folder: Path, **entries: Any) -> None:
    path = folder / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def test_a_folder_gives_the_pipeline_that_was_saved(folder: Path) -> None:
    pipeline = load_pipeline(str(folder))
    assert type(pipeline) is diffusers.DDIMPipeline
    original = dict(tiny.unet2d().named_parameters())
    assert all(torch.equal(original[name], value) for name, value in pipeline.unet.named_parameters())


@pytest.mark.parametrize(
    "name", ["DDIM", "DPMSolverMultistep", "DPMSolverSinglestep", "DEISMultistep", "UniPCMultistep", "EulerDiscrete"]
)
def test_a_sampler_as_diffusers_writes_it(tmp_path: Path, name: str) -> None:
    scheduler = getattr(diffusers, f"{name}Scheduler")
    diffusers.DDPMPipeline(tiny.unet2d(), scheduler()).save_pretrained(tmp_path)
    assert type(load_pipeline(tmp_path).scheduler) is scheduler


@pytest.mark.parametrize("dtype", ["float16", torch.bfloat16, None])
def test_type(tmp_path: Path, dtype: Any) -> None:
    tiny.sd_pipeline().save_pretrained(tmp_path, safe_serialization=True)
    pipeline = load_pipeline(tmp_path, dtype=dtype, device="cpu")
    expected = {"float16": torch.float16, None: torch.float32}.get(dtype, dtype)
    for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        assert part.dtype == expected


def test_weights_saved_in_half_are_loaded_in_single_unless_asked(tmp_path: Path) -> None:
    tiny.sd_pipeline().to(torch.float16).save_pretrained(tmp_path)
    assert load_pipeline(tmp_path).unet.dtype == torch.float32
    assert load_pipeline(tmp_path).text_encoder.dtype == torch.float32


def test_a_folder_that_holds_only_the_fp16_variant(tmp_path: Path) -> None:
    tiny.ddim_pipeline().save_pretrained(tmp_path, variant="fp16")
    assert load_pipeline(tmp_path).unet.dtype == torch.float32


@pytest.mark.parametrize("name", ["no_such_folder", "./a", "../a", "./a/b/c", "/nowhere/at/all", "owner/"])
def test_nothing_there(name: str) -> None:
    for load in (load_pipeline, load_denoiser_config):
        with pytest.raises(LoadError, match=f"found no folder '{name}'; expected a folder, 'bundled', or a hub id"):
            load(name)


def test_a_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: Any, **kwargs: Any) -> Any:
        raise OSError("We couldn't connect to the hub")

    monkeypatch.setattr(diffusers.DiffusionPipeline, "load_config", offline)
    monkeypatch.setattr(diffusers.UNet2DModel, "load_config", offline)
    with pytest.raises(LoadError, match="owner/name: found no such folder, and the hub did not give it either"):
        load_pipeline("owner/name")
    with pytest.raises(LoadError, match="owner/name: found no such folder, and no denoiser's config on the hub"):
        load_denoiser_config("owner/name")


def test_a_hub_model_with_its_own_code_is_refused_before_it_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        diffusers.DiffusionPipeline, "load_config", lambda *_, **__: {"_class_name": ["evil", "EvilPipeline"]}
    )
    monkeypatch.setattr(diffusers.DiffusionPipeline, "from_pretrained", lambda *_, **__: pytest.fail("fetched"))
    with pytest.raises(LoadError, match="code that comes with a model is never run"):
        load_pipeline("owner/name")


def test_a_single_model_is_not_a_pipeline(folder: Path) -> None:
    with pytest.raises(LoadError, match=r"found no model_index\.json.*the folder of a single model"):
        load_pipeline(folder / "unet")
    with pytest.raises(LoadError, match=r"found no model_index\.json"):
        load_pipeline(folder.parent)


@pytest.mark.parametrize(
    "entries",
    [
        {"_class_name": ["my_pipeline", "MyPipeline"]},
        {"_class_name": None},
        {"unet": ["os", "system"]},
        {"unet": ["subprocess", "Popen"]},
        {"unet": [1, 2]},
    ],
)
def test_code_of_others_is_refused(folder: Path, entries: dict[str, Any]) -> None:
    edit_index(folder, **entries)
    with pytest.raises(LoadError, match=r"model_index\.json"):
        load_pipeline(folder)


def test_code_beside_a_component_is_never_run(folder: Path) -> None:
    marker = folder / "ran"
    code = f"open({str(marker)!r}, 'w').close()\nfrom diffusers import UNet2DModel as Mine\n"
    for name in ("mine", "diffusers"):
        (folder / "unet" / f"{name}.py").write_text(code)
        edit_index(folder, unet=[name, "Mine"])
        with pytest.raises(LoadError, match="unet: found"):
            load_pipeline(folder)
    assert not marker.exists()


def test_pickled_weights_are_refused(folder: Path) -> None:
    unet = folder / "unet"
    (unet / "diffusion_pytorch_model.safetensors").unlink()
    torch.save(tiny.unet2d().state_dict(), unet / "diffusion_pytorch_model.bin")
    with pytest.raises(LoadError, match="the pipeline cannot be loaded"):
        load_pipeline(folder)


def test_a_weight_that_the_files_lack_is_named(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    del weights["mid_block.resnets.0.conv1.bias"]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(LoadError, match=r"unet: found no weights for mid_block\.resnets\.0\.conv1\.bias, expected"):
        load_pipeline(folder)


def test_broken_files_are_named(folder: Path) -> None:
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(LoadError, match="the pipeline cannot be loaded"):
        load_pipeline(folder)
    (folder / "model_index.json").write_text("{")
    with pytest.raises(LoadError, match=r"model_index\.json: found no valid JSON"):
        load_pipeline(folder)


@pytest.mark.parametrize("dtype", ["float99", "int8", torch.int32, "nn"])
def test_no_such_type(folder: Path, dtype: Any) -> None:
    with pytest.raises(LoadError, match=r"dtype: found .* expected 'float32', 'float16' or 'bfloat16'"):
        load_pipeline(folder, dtype=dtype)


@pytest.mark.parametrize("device", ["toaster", "cuda:99"])
def test_no_such_device(folder: Path, device: str) -> None:
    with pytest.raises(LoadError, match=f"device: found '{device}', which cannot be used here"):
        load_pipeline(folder, device=device)


def test_without_diffusers_a_sentence_says_what_to_type(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    for load in (load_pipeline, load_denoiser_config):
        with pytest.raises(MissingExtraError, match=r"type: pip install 'deepcadence\[probe\]'"):
            load(folder)


@pytest.fixture
def sd(tmp_path: Path) -> Path:
    tiny.sd_pipeline().save_pretrained(tmp_path / "sd")
    return tmp_path / "sd"


def drop_weight(path: Path, part: str) -> str:
    """Save the weights again without the first whose name holds `part`, and give that name."""
    weights = load_file(path)
    name = next(name for name in weights if part in name)
    del weights[name]
    save_file(weights, path, metadata={"format": "pt"})
    return name


@pytest.mark.parametrize("part", ["token_embedding", "q_proj.bias", "final_layer_norm.weight"])
def test_a_weight_that_a_text_encoder_lacks_is_named(sd: Path, part: str) -> None:
    drop_weight(sd / "text_encoder" / "model.safetensors", part)
    with pytest.raises(LoadError, match=f"text_encoder: found no weights for .*{part}.*, expected all that its config"):
        load_pipeline(sd)


def test_a_text_encoder_of_another_layout_is_not_filled_with_random_weights(sd: Path) -> None:
    path = sd / "text_encoder" / "model.safetensors"
    save_file({f"x.{name}": value for name, value in load_file(path).items()}, path, metadata={"format": "pt"})
    with pytest.raises(LoadError, match=r"found no weights for .*; if a newer version of transformers saved it"):
        load_pipeline(sd)


def test_a_text_encoder_with_tied_weights_is_whole(tmp_path: Path) -> None:
    config = T5Config(vocab_size=40, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    with tiny.seeded(0):
        encoder = T5EncoderModel(config)
    pipeline = tiny.pixart_pipeline()
    pipeline.register_modules(text_encoder=encoder)
    pipeline.save_pretrained(tmp_path)
    edit_index(tmp_path, tokenizer=[None, None])
    loaded = load_pipeline(tmp_path).text_encoder
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in encoder.state_dict().items())


def test_a_text_encoder_in_several_files_and_of_a_variant(tmp_path: Path) -> None:
    pipeline = tiny.sd_pipeline()
    pipeline.save_pretrained(tmp_path, variant="fp16", max_shard_size="20KB")
    assert len(list((tmp_path / "text_encoder").glob("*.fp16*.safetensors"))) > 1
    loaded = dict(load_pipeline(tmp_path).text_encoder.named_parameters())
    assert all(torch.equal(value, loaded[name]) for name, value in pipeline.text_encoder.named_parameters())


def test_a_tokenizer_without_its_vocabulary_is_refused(sd: Path) -> None:
    for path in (sd / "tokenizer").iterdir():
        if path.name != "tokenizer_config.json":
            path.unlink()
    with pytest.raises(LoadError):  # some versions of transformers refuse it themselves
        load_pipeline(sd)


def as_hub_cache(folder: Path, root: Path) -> Path:
    """A copy of a model's folder as the cache of the hub lays it out: the files are links into another folder."""
    repository = root / "models--owner--name"
    snapshot = repository / "snapshots" / "abc"
    for number, path in enumerate(path for path in folder.rglob("*") if path.is_file()):
        link, blob = snapshot / path.relative_to(folder), repository / "blobs" / str(number)
        for made in (link.parent, blob.parent):
            made.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, blob)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return snapshot


def test_the_files_of_the_hub_are_checked_once_they_are_on_disk(
    sd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = as_hub_cache(sd, tmp_path)
    load_config = diffusers.DiffusionPipeline.load_config
    monkeypatch.setattr(
        diffusers.DiffusionPipeline,
        "load_config",
        lambda place, *rest, **more: load_config(snapshot if place == "owner/name" else place, *rest, **more),
    )
    monkeypatch.setattr(diffusers.DiffusionPipeline, "download", lambda *_, **__: str(snapshot))
    pipeline = load_pipeline("owner/name")
    assert pipeline.config._name_or_path == "owner/name"
    (snapshot / "unet" / "model_index.json").write_text("{}")
    with pytest.raises(LoadError, match="found a pipeline inside the pipeline"):
        load_pipeline("owner/name")


def test_links_that_stay_within_a_model_are_followed(sd: Path, tmp_path: Path) -> None:
    load_pipeline(as_hub_cache(sd, tmp_path))
    (tmp_path / "own").symlink_to(sd)
    (sd / "vae").rename(sd / "vae_of_old")
    (sd / "vae").symlink_to("vae_of_old")
    load_pipeline(tmp_path / "own")


def test_a_script_that_nothing_refers_to_does_no_harm(sd: Path) -> None:
    (sd / "convert.py").write_text("raise SystemExit")
    (sd / "unet" / "convert.py").write_text("raise SystemExit")
    (sd / "notes.json").write_text("[1]")
    load_pipeline(sd)
