"""The bundled model, and the script that trains it."""

from __future__ import annotations

import gzip
import json
import shutil
import struct
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from deepcadence.probe import LoadError, Workload, bundled, count_macs, load_pipeline
from deepcadence.probe.bundled import data, path, train


def test_the_bundled_model_is_small_and_plain() -> None:
    files = {file.name for file in path().rglob("*") if file.is_file()}
    assert files >= {"model_index.json", "config.json", "diffusion_pytorch_model.safetensors", "README.md"}
    assert not any(name.endswith((".bin", ".pt", ".pkl", ".py")) for name in files)
    weights = path() / "unet" / "diffusion_pytorch_model.safetensors"
    assert weights.stat().st_size <= 12e6
    assert {tensor.dtype for tensor in load_file(weights).values()} == {torch.float16}
    assert count_macs(path()).full <= 0.5e9


def test_the_bundled_model_makes_images_of_something() -> None:
    images = Workload(load_pipeline("bundled"), steps=10, seeds=(0, 1, 2, 3)).run()
    assert images.shape == (4, 1, 32, 32)
    assert images.mean().item() == pytest.approx(0.25, abs=0.15)  # 0.22 in the data
    border = torch.cat([images[..., 0].flatten(), images[..., -1].flatten()])
    assert border.mean() < 0.05  # padding is black
    assert images.std() > 0.2


@pytest.mark.parametrize("damage", [lambda file: file.write_bytes(file.read_bytes()[:-1] + b"?"), Path.unlink])
def test_other_weights_than_the_published_ones_are_refused(
    damage: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "model"
    shutil.copytree(path(), model)
    monkeypatch.setattr(bundled, "path", lambda: model)
    load_pipeline("bundled")
    damage(model / "unet" / "diffusion_pytorch_model.safetensors")
    with pytest.raises(LoadError, match=r"expected the SHA-256 [0-9a-f]{64} of the bundled weights.*install"):
        load_pipeline("bundled")


def write_idx(folder: Path, images: torch.Tensor, name: str) -> None:
    raw = struct.pack(">4i", 2051, *images.shape) + bytes(images.flatten().tolist())
    (folder / name).write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)


def test_idx_files_plain_and_gzipped(tmp_path: Path) -> None:
    images = torch.randint(0, 256, (5, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    write_idx(tmp_path, images[:3], "t10k-images-idx3-ubyte")
    write_idx(tmp_path, images[3:], "train-images-idx3-ubyte.gz")
    assert torch.equal(data.load_images(tmp_path), images)


def test_json_files_without_their_empty_rows(tmp_path: Path) -> None:
    (tmp_path / "clothes").mkdir()
    for number in range(2):
        rows = [[number] * 784, [], [number + 2] * 784]
        (tmp_path / "clothes" / f"{number}.json").write_text(json.dumps({"data": rows}))
    images = data.load_images(tmp_path)
    assert images.shape == (4, 28, 28)
    assert images[:, 0, 0].tolist() == [0, 2, 1, 3]


def test_other_files_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no Fashion-MNIST below"):
        data.load_images(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2049, 1, 28, 28) + bytes(784))
    with pytest.raises(ValueError, match="magic 2049"):
        data.load_images(tmp_path)


def test_model_range_is_padded_with_black() -> None:
    images = data.to_model_range(torch.full((1, 28, 28), 255, dtype=torch.uint8))
    assert images.shape == (1, 1, 32, 32)
    assert images[0, 0, 2:30, 2:30].min() == 1
    assert images[0, 0, 0].max() == -1


def test_learning_rate_rises_stays_and_falls() -> None:
    factors = [train.learning_rate_factor(step, 10_000) for step in (0, train.WARMUP_STEPS, 5_000, 7_500, 9_999)]
    assert factors == pytest.approx([0.01, 1, 1, 0.5, 0.01])


def arguments(out: Path, folder: Path, images: int) -> Namespace:
    return Namespace(
        data=folder, out=out, images=images, batch=2, learning_rate=1e-3, ema=0.999, seed=0, device="cpu",
        save_every=2, preview_every=10**9,
    )  # fmt: skip


def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "save_preview", lambda *_: None)
    write_idx(tmp_path, torch.randint(0, 256, (8, 28, 28), dtype=torch.uint8), "train-images-idx3-ubyte")
    train.train(arguments(tmp_path / "whole", tmp_path, 8))
    monkeypatch.setattr(train, "learning_rate_factor", lambda step, _total: LEARNING_RATES[step])
    train.train(arguments(tmp_path / "parts", tmp_path, 4))
    train.train(arguments(tmp_path / "parts", tmp_path, 8))
    whole, parts = (load_file(tmp_path / name / "checkpoint.safetensors") for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor)
    assert (tmp_path / "parts" / "pipeline" / "model_index.json").exists()


def test_every_parameter_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "save_preview", lambda *_: None)
    write_idx(tmp_path, torch.randint(0, 256, (8, 28, 28), dtype=torch.uint8), "train-images-idx3-ubyte")
    train.train(arguments(tmp_path / "run", tmp_path, 4))
    found = load_file(tmp_path / "run" / "checkpoint.safetensors")
    gradients = {name: tensor for name, tensor in found.items() if "momentum_buffer" in name or "exp_avg." in name}
    assert len(gradients) == len(list(train.build_model().parameters()))
    assert not [name for name, tensor in gradients.items() if not tensor.any()]


def test_matrices_are_views_of_the_weights() -> None:
    run = train.start_run("cpu", 1e-3, seed=0)
    before = {name: parameter.clone() for name, parameter in run.model.named_parameters()}
    for parameter in run.model.parameters():
        parameter.grad = torch.randn_like(parameter)
    run.optimizer.step()
    for name, parameter in run.model.named_parameters():
        assert not torch.equal(parameter, before[name]), name
        assert parameter.grad is None


LEARNING_RATES = [train.learning_rate_factor(step, 4) for step in range(4)]


def test_help_teaches() -> None:
    command = [sys.executable, "-m", "deepcadence.probe.bundled.train", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "--data" in shown
    assert "Fashion-MNIST" in shown
