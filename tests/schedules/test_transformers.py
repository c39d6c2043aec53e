"""What transformers are called with besides latents and text, and what is done to them: seen, or refused by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import (
    ChromaTransformer2DModel,
    CogVideoXTransformer3DModel,
    FirstBlockCacheConfig,
    HunyuanVideoTransformer3DModel,
    SD3Transformer2DModel,
    WanPipeline,
)
from torch import nn

from deepcadence.schedules import Schedule, UnsupportedModelError, apply, cached, from_full_calls, uniform
from deepcadence.schedules.families import family_of
from deepcadence.schedules.families.residual import ResidualViews
from deepcadence.schedules.families.transformer import ranges
from tests import tiny
from tests.schedules.test_families import inputs_of, same

NEGATIVE = tuple(f"negative_{name}" for name in tiny.POOLED)
SMALL = {"height": 16, "width": 16, "output_type": "latent"}
STEPS = 6


def check_all_cuts(model: nn.Module, inputs: dict[str, Any]) -> None:
    """Full calls and partial ones after them equal the model at each cut."""
    with torch.no_grad():
        expected = model(**inputs).sample
        family = family_of(model)
        for cut in family.cuts(model):
            views = family.views(model, [cut])
            output, features = views.full(**inputs)
            assert torch.equal(output.sample, expected)
            assert same(views.partial(cut, features[cut], **inputs).sample, expected, model)


def generate(pipe: Any, steps: int = STEPS, **arguments: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    result: torch.Tensor = pipe(**(SMALL | arguments), generator=generator, num_inference_steps=steps).images
    return result


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        (3, [(1, 2)]),
        (4, [(1, 3), (2, 3)]),
        (28, [(1, 27), (2, 27), (2, 26), (3, 25), (4, 24), (6, 22), (8, 20), (12, 16)]),
        (57, [(1, 56), (2, 56), (2, 55), (3, 54), (4, 53), (6, 51), (8, 49), (12, 45), (16, 41), (24, 33)]),
    ],
)
def test_the_blocks_that_partial_calls_leave_out(blocks: int, expected: list[tuple[int, int]]) -> None:
    assert ranges(blocks) == expected


def test_cuts_are_named_by_the_blocks_that_their_feature_stands_for() -> None:
    model = tiny.flux(num_layers=2, num_single_layers=8)
    assert family_of(model).cuts(model) == {
        0: "transformer_blocks.1 to single_transformer_blocks.6",
        1: "single_transformer_blocks.0 to single_transformer_blocks.6",
        2: "single_transformer_blocks.0 to single_transformer_blocks.5",
        3: "single_transformer_blocks.1 to single_transformer_blocks.4",
        4: "single_transformer_blocks.2 to single_transformer_blocks.3",
    }


@pytest.mark.parametrize("make", [tiny.dit, tiny.flux, tiny.wan])
def test_small_inputs_are_those_of_their_generator(make: Any) -> None:
    model, name = make(), "hidden_states"
    once, again, others = (
        family_of(model).small_inputs(model, device="cpu", generator=torch.Generator().manual_seed(seed))[name]
        for seed in (0, 0, 1)
    )
    assert torch.equal(once, again)
    assert not torch.equal(once, others)


class TestControlNet:
    """Residuals for blocks that run are added as they are now; those for the others are in the feature."""

    @pytest.mark.parametrize("count", [1, 2, 3, 6])
    def test_sd3(self, count: int) -> None:
        model = tiny.sd3()
        residuals = [torch.randn(2, 16, 16) for _ in range(count)]
        check_all_cuts(model, {**inputs_of(model, 0), "block_controlnet_hidden_states": residuals})

    @pytest.mark.parametrize("repeat", [False, True])
    @pytest.mark.parametrize("count", [1, 2, 3])
    def test_flux(self, count: int, repeat: bool) -> None:
        model = tiny.flux()
        residuals = {
            name: [torch.randn(2, 16, 16) for _ in range(count)]
            for name in ("controlnet_block_samples", "controlnet_single_block_samples")
        }
        check_all_cuts(model, {**inputs_of(model, 0), **residuals, "controlnet_blocks_repeat": repeat})

    @pytest.mark.parametrize("count", [1, 3, 5])
    def test_sana(self, count: int) -> None:
        model = tiny.sana()
        residuals = tuple(torch.randn(2, 64, 16) for _ in range(count))
        check_all_cuts(model, {**inputs_of(model, 0), "controlnet_block_samples": residuals})

    def test_each_block_that_runs_gets_its_own_residual(self) -> None:
        model = tiny.sd3()
        inputs = inputs_of(model, 0)
        before, inside, after = ([torch.zeros(2, 16, 16) for _ in range(6)] for _ in range(3))
        before[0], inside[2], after[4] = torch.randn(2, 16, 16), torch.randn(2, 16, 16), torch.randn(2, 16, 16)
        views = family_of(model).views(model, [1])  # blocks 0, 1 and 5 run
        with torch.no_grad():
            _, features = views.full(**inputs)

            def partial(residuals: Any) -> torch.Tensor:
                output: torch.Tensor = views.partial(
                    1, features[1], **inputs, block_controlnet_hidden_states=residuals
                ).sample
                return output

            without = partial(None)
            assert not torch.equal(partial(before), without)
            assert torch.equal(partial(inside), without)
            assert torch.equal(partial(after), without)


class TestSkippedLayers:
    """Skip-layer guidance of Stable Diffusion 3."""

    @pytest.mark.parametrize(("skipped", "found"), [([3], {0, 1, 2}), ([1], {1, 2}), ([4], {0, 1}), ([5], {2})])
    def test_cuts_at_a_skipped_block_have_no_feature(self, skipped: list[int], found: set[int]) -> None:
        model = tiny.sd3()
        inputs = {**inputs_of(model, 0), "skip_layers": skipped}
        family = family_of(model)
        views = family.views(model, family.cuts(model))
        with torch.no_grad():
            output, features = views.full(**inputs)
            assert torch.equal(output.sample, model(**inputs).sample)
            assert set(features) == found
            for cut, feature in features.items():
                assert same(views.partial(cut, feature, **inputs).sample, output.sample, model)

    def test_it_is_a_side_of_its_own(self) -> None:
        pipe = tiny.sd3_pipeline()
        arguments: dict[str, Any] = {**tiny.text(*tiny.POOLED, *NEGATIVE), "guidance_scale": 4.0}
        skipping: dict[str, Any] = {
            "skip_guidance_layers": [3],
            "skip_layer_guidance_start": 0.0,
            "skip_layer_guidance_stop": 1.0,
        }
        plain = generate(pipe, **arguments, **skipping)
        with cached(pipe, uniform(STEPS, 1, 1)):
            assert torch.equal(generate(pipe, **arguments, **skipping), plain)
        with cached(pipe, uniform(STEPS, 3, 1)) as run:
            generate(pipe, **arguments, **skipping)
        assert run.stats.forced == ()
        assert run.stats.calls > STEPS
        assert run.stats.full == 4


class TestAdapters:
    """LoRA and IP-Adapters."""

    @pytest.mark.parametrize(
        ("make", "kwargs"),
        [
            (tiny.sd3, "joint_attention_kwargs"),
            (tiny.flux, "joint_attention_kwargs"),
            (tiny.sana, "attention_kwargs"),
            (tiny.wan, "attention_kwargs"),
        ],
    )
    def test_the_scale_of_a_lora(self, make: Any, kwargs: str) -> None:
        from peft import LoraConfig

        model = make()
        model.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_k", "proj_out"], init_lora_weights=False))
        inputs = inputs_of(model, 0)
        with torch.no_grad():
            plain = model(**inputs).sample
            scaled = model(**inputs, **{kwargs: {"scale": 0.3}}).sample
        assert not same(scaled, plain, model)
        check_all_cuts(model, {**inputs, kwargs: {"scale": 0.3}})

    def test_another_scale_forces_a_full_call(self) -> None:
        from peft import LoraConfig

        model = tiny.flux()
        model.add_adapter(LoraConfig(r=2, target_modules=["to_q"], init_lora_weights=False))
        inputs = inputs_of(model, 0)
        with torch.no_grad(), cached(model, uniform(4, 4, 1)) as run:
            for scale in (1.0, 1.0, 0.5, 0.5):
                model(**inputs, joint_attention_kwargs={"scale": scale})
        assert [call for call, _ in run.stats.forced] == [2]

    def test_ip_adapter_of_flux(self) -> None:
        pipe = tiny.flux_pipeline()
        arguments: dict[str, Any] = tiny.text(*tiny.POOLED)
        plain = generate(pipe, **arguments)
        load_flux_ip_adapter(pipe.transformer)
        for name in ("ip_adapter_image_embeds", "negative_ip_adapter_image_embeds"):
            arguments[name] = [torch.randn(2, 1, 20, generator=torch.Generator().manual_seed(3))]
        adapted = generate(pipe, **arguments)
        assert not torch.allclose(adapted, plain)
        with cached(pipe, uniform(STEPS, 1, 1)):
            assert torch.equal(generate(pipe, **arguments), adapted)
        with cached(pipe, uniform(STEPS, 3, 1)) as run:
            assert not torch.equal(generate(pipe, **arguments), adapted)
            assert run.stats.forced == ()
            assert run.stats.partial == 4

    def test_ip_adapter_of_sd3(self) -> None:
        model = tiny.sd3()
        plain = inputs_of(model, 0)
        with torch.no_grad():
            without = model(**plain).sample
        load_sd3_ip_adapter(model)
        inputs = inputs_of(model, 0)
        assert "ip_adapter_image_embeds" in inputs["joint_attention_kwargs"]
        with torch.no_grad():
            assert not same(model(**inputs).sample, without, model)
        check_all_cuts(model, inputs)
        apply(model, uniform(2, 2, 0)).remove()


def load_flux_ip_adapter(model: Any) -> None:
    """What `load_ip_adapter` puts into the model, with random weights."""
    from diffusers.models.embeddings import ImageProjection, MultiIPAdapterImageProjection
    from diffusers.models.transformers.transformer_flux import FluxIPAdapterAttnProcessor

    with tiny.seeded(1):
        projection = ImageProjection(image_embed_dim=20, cross_attention_dim=tiny.CONTEXT, num_image_text_embeds=4)
        processors = {
            name: FluxIPAdapterAttnProcessor(16, tiny.CONTEXT, num_tokens=(4,), scale=1.0)
            if name.startswith("transformer_blocks")
            else processor
            for name, processor in model.attn_processors.items()
        }
    model.encoder_hid_proj = MultiIPAdapterImageProjection([projection])
    model.set_attn_processor(processors)


def load_sd3_ip_adapter(model: Any) -> None:
    """What `load_ip_adapter` puts into the model, with random weights."""
    from diffusers.models.attention_processor import SD3IPAdapterJointAttnProcessor2_0
    from diffusers.models.embeddings import IPAdapterTimeImageProjection

    with tiny.seeded(1):
        model.image_proj = IPAdapterTimeImageProjection(
            embed_dim=20, output_dim=24, hidden_dim=16, depth=1, dim_head=8, heads=2, num_queries=4
        )
        processors = {
            name: SD3IPAdapterJointAttnProcessor2_0(
                hidden_size=16, ip_hidden_states_dim=24, head_dim=8, timesteps_emb_dim=16, scale=1.0
            )
            for name in model.attn_processors
        }
    model.set_attn_processor(processors)


class TestChangesOfTheModel:
    """What is done to a model while a schedule is attached."""

    @pytest.mark.parametrize("make", [tiny.dit, tiny.pixart, tiny.sd3, tiny.flux, tiny.sana, tiny.wan])
    def test_gradient_checkpointing(self, make: Any) -> None:
        model = make()
        inputs = inputs_of(model, 0)
        model.enable_gradient_checkpointing()
        family = family_of(model)
        views = family.views(model, family.cuts(model))
        output, features = views.full(**inputs)  # with gradients, so blocks are called another way
        assert torch.equal(output.sample, model(**inputs).sample)
        for cut, feature in features.items():
            assert same(views.partial(cut, feature.detach(), **inputs).sample, output.sample, model)

    @pytest.mark.parametrize("place", [0, 2, 5])
    def test_a_replaced_block_is_noticed(self, place: int) -> None:
        model, other = tiny.dit(), tiny.dit(seed=1)
        inputs = inputs_of(model, 0)
        with torch.no_grad(), cached(model, uniform(3, 3, 1)) as run:
            model(**inputs)
            model.transformer_blocks[place] = other.transformer_blocks[place]
            output = model(**inputs).sample
            model(**inputs)
        assert run.stats.forced == ((1, "the model was changed"),)
        with torch.no_grad():
            assert torch.equal(output, model(**inputs).sample)

    def test_an_exception_leaves_no_tensor_behind(self) -> None:
        model = tiny.flux()
        inputs = inputs_of(model, 0)
        views = family_of(model).views(model, [1])
        assert isinstance(views, ResidualViews)
        with torch.no_grad():
            _, features = views.full(**inputs)
            handle = model.proj_out.register_forward_hook(lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                views.full(**inputs)
            with pytest.raises(ZeroDivisionError):
                views.partial(1, features[1], **inputs)
            handle.remove()
        held: list[Any] = [mark.entered for mark in views._marks.values()]
        held += [part for _, mark, resume in views._partial.values() for part in (mark.entered, resume.feature)]
        assert held == [None] * len(held)

    def test_guidance_off_within_a_run(self) -> None:
        pipe = tiny.sd3_pipeline()
        arguments: dict[str, Any] = tiny.text(*tiny.POOLED, *NEGATIVE)

        def off(pipe: Any, step: int, _timestep: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
            if step != 2:
                return {}
            pipe._guidance_scale = 1.0
            return {name: kwargs[name][2:] for name in tiny.POOLED}

        watched: dict[str, Any] = {
            "callback_on_step_end": off,
            "callback_on_step_end_tensor_inputs": ["latents", *tiny.POOLED],
        }
        with cached(pipe, from_full_calls(STEPS, [0, 2], 1)) as run:
            assert torch.isfinite(generate(pipe, **arguments, **watched)).all()
        assert [call for call, _ in run.stats.forced] == [3]
        assert run.stats.forced[0][1].startswith("hidden_states changed from [4, 4, 8, 8]")
        assert (run.stats.full, run.stats.partial) == (3, 3)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("make", [tiny.dit, tiny.sd3, tiny.flux, tiny.wan])
    def test_half_precision(self, make: Any, dtype: torch.dtype) -> None:
        model = make().to(dtype)
        inputs = inputs_of(model, 0)
        with torch.no_grad(), cached(model, uniform(2, 2, 0)) as run:
            full, partial = model(**inputs).sample, model(**inputs).sample
        error = torch.linalg.vector_norm((partial - full).float()) / torch.linalg.vector_norm(full.float())
        assert 0 < error < 0.05
        assert run.stats.partial == 1

    def test_offloaded_layer_by_layer(self) -> None:
        from accelerate import cpu_offload

        model = tiny.pixart()  # has parameters of its own, and its blocks have
        inputs = inputs_of(model, 0)

        def outputs() -> list[torch.Tensor]:
            with torch.no_grad(), cached(model, uniform(4, 2, 1)):
                return [model(**{**inputs, "timestep": inputs["timestep"] - call}).sample for call in range(4)]

        expected = outputs()
        cpu_offload(model, "cpu")
        torch.testing.assert_close(outputs(), expected)


class TestSides:
    """Sides of guidance that are calls of their own."""

    def test_samples_changed_in_place(self) -> None:
        model = tiny.flux()
        one = inputs_of(model, 0)
        other = {**one, "encoder_hidden_states": one["encoder_hidden_states"] + 1}
        with torch.no_grad(), cached(model, uniform(4, 2, 1)) as run:
            for _ in range(4):
                model(**one)
                model(**other)
                one["hidden_states"].add_(0.1)
        assert (run.stats.full, run.stats.partial, run.stats.forced) == (4, 4, ())

    def test_samples_changed_in_place_with_conditions_made_anew(self) -> None:
        model = tiny.sd3()
        inputs = inputs_of(model, 0)
        prompt = inputs.pop("encoder_hidden_states")
        with torch.no_grad(), cached(model, uniform(6, 6, 1)) as run:
            for _ in range(6):
                model(**inputs, encoder_hidden_states=prompt.clone())
                inputs["hidden_states"].add_(0.1)
        assert (run.stats.full, run.stats.partial, run.stats.forced) == (1, 5, ())

    def test_each_side_reuses_its_own_feature(self) -> None:
        model = tiny.wan()
        one = inputs_of(model, 0)
        other = {**one, "encoder_hidden_states": one["encoder_hidden_states"] + 1}
        with torch.no_grad(), cached(model, uniform(2, 2, 1)) as run:
            for _ in range(2):
                found = [model(**inputs).sample for inputs in (one, other)]
        held = run.stats.bytes_held
        with torch.no_grad():
            assert all(
                same(output, model(**each).sample, model) for output, each in zip(found, (one, other), strict=True)
            )
            _, features = family_of(model).views(model, [1]).full(**one)
        assert held == 2 * features[1].nelement() * 4

    @pytest.mark.parametrize("first", [False, True])
    @pytest.mark.parametrize("interval", [(0, 6), (0, 3), (2, 6), (2, 4)])
    @pytest.mark.parametrize("make", [tiny.wan, tiny.unet2d_condition])
    def test_guidance_that_is_on_for_some_steps(self, make: Any, interval: tuple[int, int], first: bool) -> None:
        """Whichever side is called first, no side is given the feature of another."""
        model = make()
        views = family_of(model).views(model, [1])
        one = inputs_of(model, 0)
        other = {**one, "encoder_hidden_states": one["encoder_hidden_states"] + 1}
        sample = next(iter(one))
        features: dict[int, torch.Tensor] = {}
        with torch.no_grad(), cached(model, uniform(6, 6, 1)) as run:
            for step in range(6):
                sides = [0, 1] if step in range(*interval) else [0]
                noisy = one[sample] + step
                for side in sides[::-1] if first else sides:
                    inputs = {**(one, other)[side], sample: noisy}
                    full = run.stats.full
                    found = model(**inputs).sample
                    if run.stats.full > full:
                        features[side] = views.full(**inputs)[1][1]
                    else:
                        assert torch.equal(found, views.partial(1, features[side], **inputs).sample)
        assert run.stats.full <= 3

    def test_a_prompt_that_changes_within_a_run(self) -> None:
        model = tiny.unet2d_condition()
        one = inputs_of(model, 0)
        other = one["encoder_hidden_states"] + 1
        with torch.no_grad(), cached(model, uniform(6, 6, 1)) as run:
            for step in range(6):
                inputs = {**one, "sample": one["sample"] + step}
                model(**(inputs if step < 3 else {**inputs, "encoder_hidden_states": other}))
        assert run.stats.forced == ((3, "encoder_hidden_states was replaced"),)

    @pytest.mark.parametrize("name", ["text_embeds", "time_ids"])
    def test_a_condition_within_others_that_changes_within_a_run(self, name: str) -> None:
        model = tiny.unet2d_xl()
        one = inputs_of(model, 0)
        other = {**one["added_cond_kwargs"], name: one["added_cond_kwargs"][name] + 1}
        with torch.no_grad(), cached(model, uniform(6, 6, 1)) as run:
            for step in range(6):
                inputs = {**one, "sample": one["sample"] + step}
                model(**(inputs if step < 3 else {**inputs, "added_cond_kwargs": other}))
        assert run.stats.forced == ((3, f"added_cond_kwargs.{name} was replaced"),)

    def test_conditions_that_are_made_anew_at_each_step(self) -> None:
        model = tiny.wan()
        one = inputs_of(model, 0)
        with torch.no_grad(), cached(model, uniform(6, 6, 1)) as run:
            for step in range(6):
                inputs = {**one, "hidden_states": one["hidden_states"] + step}
                for side in range(2):
                    model(**{**inputs, "encoder_hidden_states": one["encoder_hidden_states"] + side})
        assert (run.stats.full, run.stats.forced) == (2, ())

    def test_a_schedule_that_is_too_long_is_told_in_calls_of_one_side(self) -> None:
        from deepcadence.schedules import ScheduleWarning

        pipe = tiny.flux_pipeline()
        arguments: dict[str, Any] = {**tiny.text(*tiny.POOLED, *NEGATIVE), "true_cfg_scale": 2.0}
        with cached(pipe, uniform(9, 3, 1)), pytest.warns(ScheduleWarning, match="made 6 calls, the schedule has 9"):
            generate(pipe, **arguments)

    def test_two_denoisers_are_refused_by_name(self) -> None:
        pipe = tiny.wan_pipeline()
        pipe.register_modules(transformer_2=tiny.wan(seed=1))
        assert isinstance(pipe, WanPipeline)
        with pytest.raises(UnsupportedModelError, match=r"two denoisers, `transformer` and `transformer_2`"):
            apply(pipe, uniform(STEPS, 3, 1))
        handles = [apply(part, uniform(STEPS, 3, 1)) for part in (pipe.transformer, pipe.transformer_2)]
        for handle in handles:
            handle.remove()


class TestRefused:
    """What the family cannot serve, it names."""

    @pytest.mark.parametrize(
        ("model_class", "config", "reason"),
        [
            (SD3Transformer2DModel, {"num_layers": 2}, "it has 2 blocks, and the first and the last one always run"),
            (
                ChromaTransformer2DModel,
                {"num_layers": 2, "num_single_layers": 2, "approximator_num_channels": 8, "approximator_layers": 1},
                "it has distilled_guidance_layer, of which nothing is known",
            ),
            (CogVideoXTransformer3DModel, {"num_layers": 3}, "its forward takes timestep_cond, ofs, image_rotary_emb"),
            (HunyuanVideoTransformer3DModel, {"num_layers": 2, "num_single_layers": 2}, "in which order"),
        ],
    )
    def test_other_transformers(self, model_class: Any, config: dict[str, Any], reason: str) -> None:
        with torch.device("meta"):
            model = model_class(num_attention_heads=2, **config)
        with pytest.raises(UnsupportedModelError, match=reason):
            family_of(model)

    def test_a_cache_of_diffusers(self) -> None:
        model = tiny.flux()
        handle = apply(model, uniform(STEPS, 3, 1))
        inputs = inputs_of(model, 0)
        with torch.no_grad():
            model(**inputs)
            model.enable_cache(FirstBlockCacheConfig(threshold=0.1))
            with pytest.raises(
                UnsupportedModelError, match=r"a cache of diffusers is enabled on it; disable_cache\(\)"
            ):
                model(**inputs)
        handle.remove()
        with pytest.raises(UnsupportedModelError, match="disable_cache"):
            apply(model, uniform(STEPS, 3, 1))
        model.disable_cache()
        apply(model, uniform(STEPS, 3, 1)).remove()

    def test_blocks_that_do_more_than_add_are_found_by_the_self_test(self) -> None:
        model = tiny.dit()

        class Doctored(type(model)):  # type: ignore[misc]
            """Scales its input by what a block that partial calls leave out has seen."""

            def forward(self, hidden_states: Any, timestep: Any, class_labels: Any, return_dict: bool = True) -> Any:
                seen: list[torch.Tensor] = []
                block = self.transformer_blocks[2]
                handle = block.register_forward_hook(lambda _module, _args, output: seen.append(output.mean()))
                output = super().forward(hidden_states, timestep, class_labels, return_dict=False)[0]
                handle.remove()
                return (output * (1 + sum(seen)),)

        model.__class__ = Doctored
        with pytest.raises(UnsupportedModelError, match=r"a partial call at cut 0 of Doctored differs"):
            apply(model, uniform(2, 2, 0))


def test_two_graphs_per_cut() -> None:
    from torch._dynamo.testing import CompileCounter

    pipe = tiny.flux_pipeline()
    arguments: dict[str, Any] = {**tiny.text(*tiny.POOLED, *NEGATIVE), "true_cfg_scale": 2.0}
    schedule = Schedule(calls=("full", 1, 1, "full", 1, 1))
    with cached(pipe, schedule):
        expected = generate(pipe, **arguments)
    torch._dynamo.reset()
    counter = CompileCounter()
    pipe.transformer = torch.compile(pipe.transformer, backend=counter, fullgraph=True)
    with cached(pipe, schedule) as run:
        for _ in range(2):
            torch.testing.assert_close(generate(pipe, **arguments), expected)
            assert run.stats.partial == 8
    assert counter.frame_count == 2
