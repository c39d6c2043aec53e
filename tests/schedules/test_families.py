"""The contract of every family: the split network computes what the model computes."""

from __future__ import annotations

import inspect
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from diffusers import DiTTransformer2DModel
from diffusers.models.unets.unet_i2vgen_xl import I2VGenXLUNet
from torch import nn

from deepcadence.schedules import UnsupportedModelError
from deepcadence.schedules.families import family_of
from deepcadence.schedules.families.midway import Crossing
from tests import tiny
from tests.schedules import compvis, toy_family

RESNET_2D: dict[str, Any] = {
    "down_block_types": ("ResnetDownsampleBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "ResnetUpsampleBlock2D"),
}
MODELS: dict[str, tuple[Any, dict[str, Any]]] = {
    **{f"2d-{layers}-layers": (tiny.unet2d, {"layers_per_block": layers}) for layers in (1, 2, 3)},
    "2d-resnet-samplers": (tiny.unet2d, {"downsample_type": "resnet", "upsample_type": "resnet"}),
    "2d-resnet-blocks": (tiny.unet2d, RESNET_2D),
    "2d-no-mid": (tiny.unet2d, {"mid_block_type": None}),
    "2d-classes": (tiny.unet2d, {"num_class_embeds": 4}),
    "2d-oblong": (tiny.unet2d, {"sample_size": (8, 24)}),
    **{f"condition-{layers}-layers": (tiny.unet2d_condition, {"layers_per_block": layers}) for layers in (1, 2, 3)},
    "condition-odd": (tiny.unet2d_condition, {"sample_size": (7, 13)}),
    "condition-classes": (
        tiny.unet2d_condition,
        {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 64},
    ),
    "condition-simple-cross": (
        tiny.unet2d_condition,
        {
            "down_block_types": ("SimpleCrossAttnDownBlock2D", "ResnetDownsampleBlock2D"),
            "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
            "up_block_types": ("ResnetUpsampleBlock2D", "SimpleCrossAttnUpBlock2D"),
        },
    ),
    "xl": (tiny.unet2d_xl, {}),
    "dit": (tiny.dit, {}),
    "pixart": (tiny.pixart, {}),
    "pixart-resolutions": (
        tiny.pixart,
        {"use_additional_conditions": True, "attention_head_dim": 12, "cross_attention_dim": 24},
    ),
    "sd3": (tiny.sd3, {}),
    "sd3-dual-attention": (tiny.sd3, {"dual_attention_layers": (0, 1, 2), "qk_norm": "rms_norm"}),
    "flux": (tiny.flux, {}),
    "flux-guidance": (tiny.flux, {"guidance_embeds": True}),
    "flux-mostly-single": (tiny.flux, {"num_layers": 1, "num_single_layers": 8}),
    "flux-mostly-double": (tiny.flux, {"num_layers": 8, "num_single_layers": 1}),
    "sana": (tiny.sana, {}),
    "sana-guidance": (tiny.sana, {"guidance_embeds": True}),
    "wan": (tiny.wan, {}),
    "wan-pictures": (tiny.wan, {"image_dim": 20, "added_kv_proj_dim": 24, "in_channels": 9}),
    "wan-first-and-last-picture": (
        tiny.wan,
        {"image_dim": 20, "added_kv_proj_dim": 24, "in_channels": 9, "pos_embed_seq_len": 2 * 257},
    ),
    **{f"svd-{layers}-layers": (tiny.unet_spatio_temporal, {"layers_per_block": layers}) for layers in (1, 2)},
    "svd-odd": (tiny.unet_spatio_temporal, {"sample_size": (7, 9)}),
    **{f"motion-{layers}-layers": (tiny.unet_motion, {"layers_per_block": layers}) for layers in (1, 2)},
    "motion-no-mid": (tiny.unet_motion, {"use_motion_mid_block": False, "sample_size": (7, 9)}),
    "motion-xl": (
        tiny.unet_motion,
        {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 6 * 8 + tiny.CONTEXT,
        },
    ),
    **{f"3d-{layers}-layers": (tiny.unet3d, {"layers_per_block": layers}) for layers in (1, 2)},
    "3d-odd": (tiny.unet3d, {"sample_size": (7, 9)}),
    **{f"compvis-{kind}": (compvis.unet, {"kind": kind}) for kind in ("plain", "text", "classes", "vectors")},
    "third-party": (toy_family.ToyDenoiser, {}),
}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> nn.Module:
    make, overrides = MODELS[request.param]
    built: nn.Module = make(**overrides)
    return built


@pytest.fixture(autouse=True)
def _toy_package(toy_package: None) -> None:
    """The package of "third-party" is installed."""


def sample_of(output: Any) -> torch.Tensor:
    """What a denoiser returns: a tensor, or diffusers' output object, or a tuple."""
    first: torch.Tensor = output if isinstance(output, torch.Tensor) else output[0]
    return first


def inputs_of(model: Any, seed: int, size: tuple[int, ...] | None = None) -> dict[str, Any]:
    family = family_of(model)
    if size is None and "sample_size" not in getattr(model, "config", {"sample_size": None}):
        size = tuple(2 * side for side in family.small_size(model))
    return family.example_inputs(model, batch=2, size=size, generator=torch.Generator().manual_seed(seed))


def same(found: torch.Tensor, expected: torch.Tensor, model: nn.Module) -> bool:
    """Equal to the bit; where features are residuals, to the rounding of one subtraction and one addition."""
    if family_of(model).exact:
        return torch.equal(found, expected)
    error = torch.linalg.vector_norm(found - expected) / torch.linalg.vector_norm(expected)
    return found.shape == expected.shape and error.item() < 8 * torch.finfo(expected.dtype).eps


def entering(model: nn.Module, layers: dict[int, str], inputs: dict[str, Any]) -> dict[int, torch.Tensor]:
    """What enters each of the named layers."""
    entered: dict[int, torch.Tensor] = {}
    handles = [
        model.get_submodule(name).register_forward_pre_hook(
            lambda _module, args, kwargs, cut=cut: entered.__setitem__(cut, [*args, *kwargs.values()][0]),
            with_kwargs=True,
        )
        for cut, name in layers.items()
    ]
    model(**inputs)
    for handle in handles:
        handle.remove()
    return entered


def added(model: nn.Module, blocks: dict[int, str], inputs: dict[str, Any]) -> dict[int, torch.Tensor]:
    """What the named blocks, each "first to last", add to their input: to the image, then to the text."""
    entered: dict[int, Any] = {}
    left: dict[int, Any] = {}
    for cut, name in blocks.items():
        first, last = map(model.get_submodule, name.split(" to "))

        def before(block: Any, args: Any, kwargs: Any, cut: int = cut) -> None:
            entered[cut] = inspect.signature(block.forward).bind(*args, **kwargs).arguments

        first.register_forward_pre_hook(before, with_kwargs=True)
        last.register_forward_hook(lambda _module, _args, output, cut=cut: left.__setitem__(cut, output))
    model(**inputs)
    result: dict[int, torch.Tensor] = {}
    for cut, output in left.items():
        image, text = (output[1], output[0]) if isinstance(output, tuple) else (output, None)
        result[cut] = image - entered[cut]["hidden_states"]
        if text is not None:
            result[cut] = torch.cat([result[cut], text - entered[cut]["encoder_hidden_states"]], dim=1)
    return result


def layers_run(model: nn.Module, call: Callable[[], Any]) -> Counter[str]:
    """How often each layer without parts of its own runs in a call."""
    run: Counter[str] = Counter()
    handles = [
        layer.register_forward_hook(lambda *_, name=name: run.update([name]))
        for name, layer in model.named_modules()
        if not layer._modules
    ]
    call()
    for handle in handles:
        handle.remove()
    return run


@pytest.fixture(autouse=True)
def _no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield


class TestContract:
    """For every family: add a line to MODELS."""

    def test_full_view_equals_the_model_at_every_cut(self, model: nn.Module) -> None:
        family, inputs = family_of(model), inputs_of(model, 0)
        expected = sample_of(model(**inputs))
        for cuts in [*([cut] for cut in family.cuts(model)), list(family.cuts(model))]:
            output, features = family.views(model, cuts).full(**inputs)
            assert torch.equal(sample_of(output), expected)
            assert set(features) == set(cuts)

    def test_partial_after_full_at_the_same_input_equals_the_model(self, model: nn.Module) -> None:
        family, inputs = family_of(model), inputs_of(model, 0)
        expected = sample_of(model(**inputs))
        views = family.views(model, family.cuts(model))
        _, features = views.full(**inputs)
        for cut, feature in features.items():
            before = feature.clone()
            assert same(sample_of(views.partial(cut, feature, **inputs)), expected, model)
            assert torch.equal(feature, before)

    def test_partial_depends_on_the_feature_and_on_the_input(self, model: nn.Module) -> None:
        family, inputs, others = family_of(model), inputs_of(model, 0), inputs_of(model, 1)
        views = family.views(model, family.cuts(model))
        _, features = views.full(**inputs)
        here, there = sample_of(model(**inputs)), sample_of(model(**others))
        for cut, feature in features.items():
            mixed = sample_of(views.partial(cut, feature, **others))
            assert not same(mixed, here, model)
            assert not same(mixed, there, model)

    def test_the_feature_is_what_the_cut_names(self, model: nn.Module) -> None:
        family, inputs = family_of(model), inputs_of(model, 0)
        measured = (entering if family.exact else added)(model, family.cuts(model), inputs)
        _, features = family.views(model, family.cuts(model)).full(**inputs)
        for cut, feature in features.items():  # a layer gets the feature with its skip behind it
            assert torch.equal(measured[cut][:, : feature.shape[1]], feature)

    def test_positional_arguments_mean_the_same(self, model: nn.Module) -> None:
        family, inputs = family_of(model), inputs_of(model, 0)
        expected = sample_of(model(**inputs))
        names = list(inspect.signature(type(model).forward).parameters)[1:]
        leading = itertools.takewhile(lambda name: name in inputs, names)
        positional = [inputs.pop(name) for name in leading]
        assert len(positional) >= 2
        if "return_dict" in names:
            inputs["return_dict"] = False
        cut = max(family.cuts(model)) // 3
        views = family.views(model, [cut])
        output, features = views.full(*positional, **inputs)
        assert torch.equal(sample_of(output), expected)
        assert same(sample_of(views.partial(cut, features[cut], *positional, **inputs)), expected, model)

    def test_other_sizes_than_configured(self, model: nn.Module) -> None:
        family = family_of(model)
        *others, width = (2 * side for side in family.small_size(model))
        square = isinstance(model, DiTTransformer2DModel)  # knows no other pictures
        inputs = inputs_of(model, 0, size=(*others, width) if square else (*others, 3 * width))
        cut = max(family.cuts(model)) // 2
        views = family.views(model, [cut])
        output, features = views.full(**inputs)
        assert torch.equal(sample_of(output), sample_of(model(**inputs)))
        assert same(sample_of(views.partial(cut, features[cut], **inputs)), sample_of(output), model)

    def test_a_call_that_decides_midway_turns_back_or_goes_on(self, model: nn.Module) -> None:
        family, inputs, others = family_of(model), inputs_of(model, 0), inputs_of(model, 1)
        cuts = list(family.cuts(model))
        if isinstance(model, toy_family.ToyDenoiser):
            with pytest.raises(
                UnsupportedModelError, match=r"ToyDenoiser: reuse mode .adaptive. is not .* family 'toy'"
            ):
                family.midway(model, cuts)
            return
        views, midway = family.views(model, cuts), family.midway(model, cuts)
        first, second = Crossing(), Crossing()
        assert torch.equal(sample_of(midway(first, **inputs)), sample_of(model(**inputs)))
        there = sample_of(midway(second, **others))
        assert set(first.features) == set(first.entered) == set(cuts)
        assert not first.turned_back
        for cut in cuts:
            feature, asked = first.features[cut].clone(), list[int]()

            def decide(now: torch.Tensor, answer: bool, cut: int = cut, asked: list[int] = asked) -> bool:
                asked.append(cut)
                assert torch.equal(now, second.entered[cut])
                assert not torch.equal(now, first.entered[cut])
                return answer

            back = Crossing(cut, first.features[cut], partial(decide, answer=True))
            found = sample_of(midway(back, **others))
            assert torch.equal(found, sample_of(views.partial(cut, feature, **others)))
            assert back.turned_back
            assert not back.features
            assert all(outer <= cut for outer in back.entered) or not family.exact
            on = Crossing(cut, first.features[cut], partial(decide, answer=False))
            assert torch.equal(sample_of(midway(on, **others)), there)
            assert not on.turned_back
            for kept, expected in ((on.features, second.features), (on.entered, second.entered)):
                assert set(kept) == set(cuts)
                assert all(torch.equal(kept[each], expected[each]) for each in cuts)
            assert asked == [cut, cut]
            assert torch.equal(first.features[cut], feature)

    def test_what_ran_before_the_decision_is_not_run_again(self, model: nn.Module) -> None:
        family, inputs = family_of(model), inputs_of(model, 0)
        if isinstance(model, toy_family.ToyDenoiser):
            return
        cuts = list(family.cuts(model))
        views, midway = family.views(model, cuts), family.midway(model, cuts)
        plain = layers_run(model, lambda: model(**inputs))
        for cut, feature in views.full(**inputs)[1].items():
            on, back = Crossing(cut, feature, lambda _: False), Crossing(cut, feature, lambda _: True)
            assert layers_run(model, partial(midway, on, **inputs)) == plain
            outer = layers_run(model, partial(views.partial, cut, feature, **inputs))
            assert layers_run(model, partial(midway, back, **inputs)) == outer
            assert outer < plain or cut > 0  # inside the last cut of a U-Net there may be nothing

    def test_the_model_is_left_alone(self, model: nn.Module) -> None:
        family, inputs = family_of(model), inputs_of(model, 0)
        before = {name: dict(module.__dict__) for name, module in model.named_modules()}
        children = {name: dict(module._modules) for name, module in model.named_modules()}
        views = family.views(model, family.cuts(model))
        _, features = views.full(**inputs)
        views.partial(0, features[0], **inputs)
        if not isinstance(model, toy_family.ToyDenoiser):
            family.midway(model, family.cuts(model))(Crossing(0, features[0], lambda _: False), **inputs)
        assert {name: dict(module.__dict__) for name, module in model.named_modules()} == before
        assert {name: dict(module._modules) for name, module in model.named_modules()} == children


@pytest.mark.parametrize(
    ("make", "layers", "mid"),
    [
        *((tiny.unet2d_condition, layers, True) for layers in (1, 2, 3)),
        # Without that of the mid block, the residuals would be an adapter's for a U-Net of images.
        *itertools.product((tiny.unet_motion, tiny.unet3d), (1, 2), (True, False)),
    ],
)
def test_controlnet_residuals(make: Any, layers: int, mid: bool) -> None:
    model = make(layers_per_block=layers)
    inputs = inputs_of(model, 0)
    shapes: list[torch.Size] = []

    def record(_module: nn.Module, _args: Any, kwargs: Any, output: Any) -> None:
        shapes.extend(skip.shape for skip in output[1])

    handles = [block.register_forward_hook(record, with_kwargs=True) for block in model.down_blocks]
    handles.append(model.conv_in.register_forward_hook(lambda _module, _args, output: shapes.append(output.shape)))
    model(**inputs)
    for handle in handles:
        handle.remove()
    inputs["down_block_additional_residuals"] = tuple(torch.randn(shape) for shape in shapes)
    if mid:
        inputs["mid_block_additional_residual"] = torch.randn(shapes[-1])
    check_all_cuts(model, inputs)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("deprecated", [False, True])
@pytest.mark.parametrize("blocks", ["cross-first", "cross-last"])
def test_adapter_residuals(layers: int, deprecated: bool, blocks: str) -> None:
    swapped: dict[str, Any] = {
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    }
    model = tiny.unet2d_condition(layers_per_block=layers, **(swapped if blocks == "cross-last" else {}))
    inputs = inputs_of(model, 0)
    residuals = [torch.randn(2, 16, 8 if blocks == "cross-first" else 4, 8 if blocks == "cross-first" else 4)]
    residuals.append(torch.randn(2, 32, 4, 4))
    name = "down_block_additional_residuals" if deprecated else "down_intrablock_additional_residuals"

    def fresh() -> dict[str, Any]:
        return {**inputs, name: [residual.clone() for residual in residuals]}

    check_all_cuts(model, fresh)


@pytest.mark.parametrize("make", [tiny.unet2d_condition, tiny.unet_motion, tiny.unet3d])
def test_freeu_overwrites_its_input_but_never_the_stored_feature(make: Any) -> None:
    model = make()
    model.enable_freeu(s1=0.9, s2=0.2, b1=1.5, b2=1.6)
    check_all_cuts(model, inputs_of(model, 0))


def check_all_cuts(model: nn.Module, inputs: Any) -> None:
    """Full and (twice) partial calls equal the model at each cut; `inputs` may make fresh ones each time."""
    fresh = inputs if callable(inputs) else lambda: dict(inputs)
    expected = model(**fresh()).sample
    family = family_of(model)
    for cut in family.cuts(model):
        views = family.views(model, [cut])
        output, features = views.full(**fresh())
        assert torch.equal(output.sample, expected)
        for _ in range(2):
            assert torch.equal(views.partial(cut, features[cut], **fresh()).sample, expected)
        midway, crossing = family.midway(model, [cut]), Crossing()
        assert torch.equal(midway(crossing, **fresh()).sample, expected)
        for turns_back in (True, True, False):
            now = Crossing(cut, crossing.features[cut], partial(decide, then=crossing.entered[cut], answer=turns_back))
            assert torch.equal(midway(now, **fresh()).sample, expected)
            assert now.turned_back == turns_back


def decide(now: torch.Tensor, *, then: torch.Tensor, answer: bool) -> bool:
    """An answer for `Crossing.turns_back`, at the input of the full call."""
    assert torch.equal(now, then)
    return answer


def refused(reason: str, model: nn.Module) -> None:
    with pytest.raises(UnsupportedModelError, match=reason):
        family_of(model)


@pytest.mark.parametrize(("name", "pictures"), [("wan-pictures", 1), ("wan-first-and-last-picture", 2)])
def test_example_inputs_of_wan_have_its_pictures_and_one_sample(name: str, pictures: int) -> None:
    make, changes = MODELS[name]
    model = make(**changes)
    inputs = family_of(model).example_inputs(model)
    assert inputs["hidden_states"].shape[0] == 1
    assert inputs["encoder_hidden_states_image"].shape[::2] == (pictures, changes["image_dim"])


def test_text_that_the_model_projects_has_the_width_from_before() -> None:
    model = tiny.unet2d_condition(encoder_hid_dim_type="text_proj", encoder_hid_dim=20)
    inputs = family_of(model).example_inputs(model)
    assert inputs["encoder_hidden_states"].shape[-1] == 20
    assert model(**inputs).sample.shape == inputs["sample"].shape


def test_what_is_no_unet_is_refused_by_name() -> None:
    refused("Linear cannot be cached.*no conv_in, down_blocks", nn.Linear(2, 2))


def test_a_forward_that_needs_unknown_arguments_is_refused_by_their_names() -> None:
    model = I2VGenXLUNet(
        block_out_channels=(32, 64),
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=tiny.CONTEXT,
        num_attention_heads=2,
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
    )
    refused("its forward needs fps, image_latents, which", model)


def test_residuals_of_a_controlnet_are_refused_by_name_where_they_are_consumed_from_the_inside() -> None:
    refused("compvis: its forward takes control, which", compvis.ControlledUNetModel())


def test_a_model_whose_input_and_output_blocks_do_not_match_is_refused() -> None:
    model = compvis.unet()
    del model.input_blocks[-1]
    refused("compvis: it has 5 input_blocks and 6 output_blocks", model)


def test_skip_blocks_are_refused_by_name() -> None:
    types: dict[str, Any] = {
        "down_block_types": ("SkipDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "SkipUpBlock2D"),
    }
    refused("SkipDownBlock2D: its second", tiny.unet2d(norm_num_groups=4, **types))


def test_k_blocks_are_refused_by_name() -> None:
    model = tiny.unet2d_condition()
    model.down_blocks[0].downsamplers = None
    refused("makes 5 skips, its up path consumes 6", model)


def test_a_hook_on_a_block_that_is_split_is_refused_by_name() -> None:
    model = tiny.unet2d()
    handle = model.up_blocks[1].register_forward_hook(lambda *_: None)
    family = family_of(model)
    family.views(model, [2])  # the edge of the block: nothing is split there
    with pytest.raises(UnsupportedModelError, match=r"up_blocks\.1 \(UpBlock2D\) carries _forward_hooks"):
        family.views(model, [1])
    handle.remove()
    model.up_blocks[1].forward = lambda *_: None
    with pytest.raises(UnsupportedModelError, match="replaced forward"):
        family.views(model, [1])
