"""MACs against the reference figures, from all kinds of models, without running them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers import UNet2DModel
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from deepcadence.probe import LoadError, Macs, count_macs, load_denoiser_config
from deepcadence.probe._meta import build, meta_twin
from deepcadence.probe._paper_rules import paper_rules
from deepcadence.schedules import UnsupportedModelError, family_of, uniform
from tests import tiny

REFERENCE = json.loads((Path(__file__).parents[1] / "data" / "macs.json").read_text())
MODELS: dict[str, Any] = REFERENCE["models"]


def reference_model(name: str) -> nn.Module:
    return build(getattr(diffusers, MODELS[name]["model"]), MODELS[name]["config"])


@pytest.mark.parametrize("counter", ["exact", "paper"])
@pytest.mark.parametrize("name", list(MODELS))
def test_every_reference_figure_is_met_to_the_unit(name: str, counter: Any) -> None:
    expected = MODELS[name]
    macs = count_macs(reference_model(name), counter=counter)
    assert macs.full == expected["full"][counter]
    assert macs.partial == {cut: figures[counter] for cut, figures in enumerate(expected["cuts"])}
    assert macs.sample_shape == tuple(expected["sample"][1:])
    shapes = {cut: tuple(figures["feature_shape"][1:]) for cut, figures in enumerate(expected["cuts"])}
    assert macs.feature_shapes == shapes


def test_published_tables_follow_from_the_paper_counter() -> None:
    published = REFERENCE["published"]
    macs = count_macs(reference_model("ddpm-cifar10"), counter="paper", cuts=[2])
    for interval, figure in published["ddpm-cifar10 cut 2, 100 calls"].items():
        mean = macs.mean(uniform(100, int(interval), 2)) / 1e9
        assert mean == pytest.approx(figure, abs=0.04), interval
    full = MODELS["sd15"]["full"]["paper"]
    assert round(full / 1e9, 2) == published["sd15 full"]


class Positional(nn.Module):
    """A denoiser that takes and gives tensors only, which is what a trace wants."""

    def __init__(self, model: nn.Module, names: list[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *values: torch.Tensor) -> torch.Tensor:
        output: tuple[torch.Tensor, ...] = self.model(**dict(zip(self.names, values, strict=True)), return_dict=False)
        return output[0]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", [tiny.unet2d, tiny.unet2d_condition, tiny.dit])
def test_convolutions_and_layers_are_counted_as_fvcore_does(make: Any) -> None:
    """Beyond these, ours has the products of attention, which fvcore cannot see; fvcore has norms and resizing."""
    fvcore = pytest.importorskip("fvcore.nn")
    model = make()
    inputs = {key: value for key, value in family_of(model).example_inputs(model).items() if torch.is_tensor(value)}
    theirs = fvcore.FlopCountAnalysis(Positional(model, list(inputs)), tuple(inputs.values()))
    theirs.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    counted = sum(theirs.by_operator()[name] for name in ("conv", "linear", "addmm"))
    with torch.no_grad(), FlopCounterMode(display=False) as ours:
        meta_twin(model)(**{key: value.to("meta") for key, value in inputs.items()})
    kinds = {str(kind): flops // 2 for kind, flops in ours.get_flop_counts()["Global"].items()}
    attention = sum(macs for kind, macs in kinds.items() if "attention" in kind or "bmm" in kind)
    assert counted == count_macs(model).full - attention
    assert attention > 0


def test_counts_scale_with_size_and_do_not_depend_on_weights() -> None:
    small, large = (count_macs(tiny.unet2d(attention_head_dim=None), size=(side, side), cuts=[0]) for side in (16, 32))
    assert 3.9 < large.full / small.full < 6
    assert large.feature_shapes[0] == (16, 32, 32)
    assert small == count_macs(tiny.unet2d(seed=5, attention_head_dim=None), cuts=[0])


def test_the_real_weights_are_never_run() -> None:
    pipeline = tiny.sd_pipeline()

    def refuse(*args: Any) -> None:
        raise AssertionError("the real model was run")

    pipeline.unet.register_forward_pre_hook(refuse)
    before = {name: parameter.clone() for name, parameter in pipeline.unet.named_parameters()}
    macs = count_macs(pipeline)
    assert set(macs.partial) == set(range(6))
    assert all(torch.equal(before[name], parameter) for name, parameter in pipeline.unet.named_parameters())


def test_partial_calls_cost_more_the_deeper_the_cut_and_less_than_full() -> None:
    macs = count_macs(tiny.sdxl_pipeline())
    figures = [macs.partial[cut] for cut in sorted(macs.partial)]
    assert figures == sorted(figures)
    assert figures[0] > 0
    assert figures[-1] < macs.full


def test_mean_and_speedup_of_a_schedule() -> None:
    macs = Macs(100, {1: 20}, "exact", (3, 8, 8))
    assert macs.mean(uniform(4, 2, 1)) == 60
    assert macs.speedup(uniform(4, 2, 1)) == pytest.approx(100 / 60)


@pytest.mark.parametrize("place", ["pipeline", "unet", "config folder", "config file"])
def test_a_config_alone_is_enough(tmp_path: Path, place: str) -> None:
    pipeline = tiny.sd_pipeline()
    pipeline.save_pretrained(tmp_path / "pipeline")
    for weights in tmp_path.rglob("*.safetensors"):
        weights.unlink()
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "config.json").write_text((tmp_path / "pipeline" / "unet" / "config.json").read_text())
    places = {
        "pipeline": tmp_path / "pipeline",
        "unet": tmp_path / "pipeline" / "unet",
        "config folder": alone,
        "config file": alone / "config.json",
    }
    assert count_macs(places[place]) == count_macs(str(places[place])) == count_macs(pipeline)


def test_a_twin_is_on_meta_and_shares_nothing() -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 3)
            self.register_buffer("table", torch.ones(4))

    plain = Plain()
    for model in (plain, tiny.unet2d()):
        twin = meta_twin(model)
        assert type(twin) is type(model)
        assert {tensor.device.type for tensor in [*twin.parameters(), *twin.buffers()]} == {"meta"}
        assert all(parameter.device.type == "cpu" for parameter in model.parameters())


@pytest.mark.parametrize(
    ("layer", "entering", "macs"),
    [
        (nn.Conv2d(4, 6, 3, padding=1), (1, 4, 5, 5), 25 * 6 * (4 * 9 + 1)),
        (nn.Conv2d(4, 6, 3, padding=1, groups=2, bias=False), (1, 4, 5, 5), 25 * 6 * 2 * 9),
        (nn.ConvTranspose2d(4, 6, 2, stride=2), (1, 4, 5, 5), 25 * 4 * 6 * 4 + 100 * 6),
        (nn.Linear(4, 6), (1, 7, 4), 7 * 4 * 6 + 6),
        (nn.Linear(4, 6, bias=False), (1, 7, 4), 7 * 4 * 6),
        (nn.GroupNorm(2, 4), (1, 4, 5, 5), 2 * 100),
        (nn.GroupNorm(2, 4, affine=False), (1, 4, 5, 5), 0),
        (nn.LayerNorm(4), (1, 7, 4), 2 * 28),
        (nn.SiLU(), (1, 4), 0),
    ],
)
def test_the_papers_rules(layer: nn.Module, entering: tuple[int, ...], macs: int) -> None:
    with paper_rules(layer) as tally:
        layer(torch.zeros(entering))
    assert tally.macs == macs
    assert not layer._forward_hooks


def test_subclasses_of_norms_are_not_counted_by_the_papers_rules() -> None:
    class MyNorm(nn.GroupNorm):
        pass

    layer = MyNorm(2, 4)
    with paper_rules(layer) as tally:
        layer(torch.zeros(1, 4, 5, 5))
    assert tally.macs == 0


def test_hooks_are_removed_after_an_exception() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(RuntimeError, match="shapes"), paper_rules(model):
        model(torch.zeros(1, 3))
    assert not any(layer._forward_hooks for layer in model.modules())


def test_wrong_arguments_are_named() -> None:
    model = meta_twin(tiny.unet2d())
    with pytest.raises(ValueError, match="counter: found 'guess', expected 'exact' or 'paper'"):
        count_macs(model, counter="guess")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"cuts: found \[6\], expected some of 0 to 5"):
        count_macs(model, cuts=[0, 6])
    with pytest.raises(UnsupportedModelError, match="VQModel"):
        count_macs(tiny.vqvae())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no valid JSON"),
        ("[]", "a JSON list, expected an object"),
        ("[" * 100_000, "no valid JSON"),
        ("{}", "_class_name: found None"),
        ('{"_class_name": "UNet2DModel", "block_out_channels": "many"}', "no UNet2DModel can be built"),
    ],
)
def test_bad_configs(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(LoadError, match=message):
        load_denoiser_config(tmp_path)


@pytest.mark.parametrize("name", ["DDIMScheduler", "os", "NoSuchModel"])
def test_a_config_of_something_else(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": name}))
    with pytest.raises(UnsupportedModelError, match=f"found '{name}', expected a model class of diffusers"):
        load_denoiser_config(tmp_path)


def test_the_config_of_a_model_that_cannot_be_cached_is_named(tmp_path: Path) -> None:
    config = json.loads(tiny.unet2d().to_json_string()) | {"up_block_types": ["UpBlock2D", "UpBlock2D"]}
    config |= {"down_block_types": ["DownBlock2D", "SkipDownBlock2D"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnsupportedModelError, match=f"^{re.escape(str(tmp_path))}: UNet2DModel cannot be cached"):
        count_macs(tmp_path)


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"found neither config.json nor unet/config.json"):
        load_denoiser_config(tmp_path)
    assert isinstance(load_denoiser_config(_saved(tmp_path)), UNet2DModel)


def _saved(folder: Path) -> Path:
    tiny.unet2d().save_config(folder)
    return folder
