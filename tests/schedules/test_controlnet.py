"""A ControlNet that is left out at partial calls."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import pytest
import torch
from accelerate import cpu_offload_with_hook
from diffusers import ControlNetModel, StableDiffusionControlNetPipeline
from packaging.version import Version

from deepcadence.schedules import Schedule, UnsupportedModelError, apply, cached, family_of, uniform
from tests import tiny
from tests.schedules.conditions.families import COLUMNS, PICTURE
from tests.schedules.conditions.on_models import add_lora, use_lora
from tests.schedules.conditions.on_pipelines import held_controlnet

CALLS: tuple[Any, ...] = ("full", 0, 0, "full", 2, 2)
PARTIAL = 4


class Pipeline:
    """What a pipeline with a ControlNet does, without the rest: `before` happens in front of a call of the denoiser."""

    def __init__(self, calls: int = len(CALLS)) -> None:
        self.unet = tiny.unet2d_condition()
        with tiny.seeded(0):
            net = ControlNetModel.from_unet(self.unet, conditioning_embedding_out_channels=(8, 16))
        self.controlnet = tiny.lively(net)
        self.counted = 0
        self.controlnet.register_forward_hook(self._count)
        randn = _randn()
        self.samples = [randn(2, 4, 8, 8) for _ in range(calls)]
        self.text, self.picture = randn(2, 7, tiny.CONTEXT), randn(2, 3, 16, 16)

    def _count(self, *_: Any) -> None:
        self.counted += 1

    def residuals(self, call: int, **changes: Any) -> dict[str, Any]:
        inputs = {"encoder_hidden_states": self.text, "controlnet_cond": self.picture, "conditioning_scale": 0.5}
        down, mid = self.controlnet(self.samples[call], 900 - call, **{**inputs, **changes}, return_dict=False)
        return {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}

    def denoise(self, call: int, residuals: dict[str, Any]) -> torch.Tensor:
        output = self.unet(self.samples[call], 900 - call, encoder_hidden_states=self.text, **residuals).sample
        assert isinstance(output, torch.Tensor)
        return output

    @torch.no_grad()
    def __call__(
        self,
        before: dict[int, Callable[[], object]] | None = None,
        changes: dict[int, dict[str, Any]] | None = None,
        cast: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> list[torch.Tensor]:
        outputs = []
        for call in range(len(self.samples)):
            residuals = self.residuals(call, **(changes or {}).get(call, {}))
            if cast is not None:
                down, mid = residuals.values()
                residuals = dict(zip(residuals, ([cast(each) for each in down], cast(mid)), strict=True))
            (before or {}).get(call, lambda: None)()
            outputs.append(self.denoise(call, residuals))
        return outputs


def _randn() -> Callable[..., torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.randn(shape, generator=generator)


def equal(found: list[torch.Tensor], expected: list[torch.Tensor]) -> list[bool]:
    return [torch.equal(one, other) for one, other in zip(found, expected, strict=True)]


@torch.no_grad()
def by_hand(pipe: Pipeline, calls: tuple[Any, ...] = CALLS) -> list[torch.Tensor]:
    """Explicit full and partial calls, the partial ones with the residuals of the last full one."""
    views = family_of(pipe.unet).views(pipe.unet, (0, 2))
    outputs: list[torch.Tensor] = []
    residuals: dict[str, Any] = {}
    features: dict[int, torch.Tensor] = {}
    for call, what in enumerate(calls):
        inputs: dict[str, Any] = {"timestep": 900 - call, "encoder_hidden_states": pipe.text}
        if what == "full":
            residuals = pipe.residuals(call)
            output, features = views.full(pipe.samples[call], **inputs, **residuals)
        else:
            output = views.partial(what, features[what], pipe.samples[call], **inputs, **residuals)
        outputs.append(output.sample)
    return outputs


class TestHeld:
    """What partial calls are given."""

    def test_residuals_of_the_last_full_call_to_the_bit(self) -> None:
        pipe = Pipeline()
        expected, called = by_hand(pipe), pipe()
        pipe.counted = 0
        with cached(pipe, Schedule(calls=CALLS), hold_controlnet=True) as run:
            assert all(equal(pipe(), expected))
        assert equal(expected, called) == [call == "full" for call in CALLS]
        assert run.stats.controlnet_left_out == PARTIAL
        assert not run.stats.forced

    def test_without_the_option_it_is_called_every_time(self) -> None:
        pipe = Pipeline()
        with cached(pipe, Schedule(calls=CALLS)) as run:
            found = pipe()
        assert run.stats.controlnet_left_out == 0
        with cached(pipe, Schedule(calls=CALLS), hold_controlnet=True):
            assert equal(pipe(), found) == [call == "full" for call in CALLS]

    def test_full_calls_are_those_of_the_bare_model(self) -> None:
        pipe = Pipeline()
        plain = pipe()
        with cached(pipe, Schedule(calls=("full",) * len(CALLS)), hold_controlnet=True) as run:
            assert all(equal(pipe(), plain))
        assert run.stats.controlnet_left_out == 0

    def test_its_layers_do_not_run(self) -> None:
        pipe = Pipeline()
        made: list[None] = []
        pipe.controlnet.conv_in.register_forward_hook(lambda *_: made.append(None))
        with cached(pipe, Schedule(calls=CALLS), hold_controlnet=True):
            pipe()
        assert len(made) == len(CALLS) - PARTIAL

    def test_bytes_held_count_it(self) -> None:
        pipe = Pipeline()
        with cached(pipe, Schedule(calls=CALLS)) as run:
            pipe()
        features = run.stats.bytes_held
        with cached(pipe, Schedule(calls=CALLS), hold_controlnet=True) as run:
            pipe()
        down, mid = pipe.residuals(0).values()
        assert run.stats.bytes_held == features + sum(each.nbytes for each in (*down, mid))


class TestAsked:
    """A call of the ControlNet that is unlike the one that is held is made."""

    @pytest.mark.parametrize(
        "change",
        [{"conditioning_scale": 0.0}, {"controlnet_cond": torch.zeros(2, 3, 16, 16)}, {"guess_mode": True}],
        ids=lambda change: next(iter(change)),
    )
    def test_after_a_change(self, change: dict[str, Any]) -> None:
        pipe = Pipeline()
        changes = dict.fromkeys(range(4, len(CALLS)), change)
        with cached(pipe, Schedule(calls=CALLS), hold_controlnet=True) as run:
            found = pipe(changes=changes)
        assert run.stats.controlnet_left_out == PARTIAL - 1  # at call 5 the new one is held
        assert not run.stats.forced
        with cached(pipe, Schedule(calls=CALLS), hold_controlnet=True):
            assert equal(pipe(), found) == [True, True, True, True, False, False]

    def test_after_an_adapter_was_switched(self) -> None:
        pipe = Pipeline()
        add_lora(pipe.controlnet, "first", "second")
        before: dict[int, Callable[[], object]] = {3: lambda: use_lora(pipe.controlnet, "second")}
        with cached(pipe, Schedule(calls=CALLS), hold_controlnet=True) as run:
            pipe(before=before)
        assert run.stats.controlnet_left_out == PARTIAL - 1

    def test_where_the_pipeline_makes_something_else_of_it(self) -> None:
        pipe = Pipeline()
        with cached(pipe, Schedule(calls=CALLS)):
            called = pipe(cast=torch.clone)
        with cached(pipe, Schedule(calls=CALLS), hold_controlnet=True) as run:
            assert all(equal(pipe(cast=torch.clone), called))
        assert run.stats.controlnet_left_out == 0


class TestForced:
    """A full call that was not planned has residuals of its own step."""

    def test_it_makes_up_for_what_was_left_out(self) -> None:
        pipe = Pipeline()
        add_lora(pipe.unet, "first", "second")
        before: dict[int, Callable[[], object]] = {
            0: lambda: use_lora(pipe.unet, "first"),
            1: lambda: use_lora(pipe.unet, "second"),
        }
        plain = pipe(before)
        with cached(pipe, Schedule(calls=CALLS), hold_controlnet=True) as run:
            found = pipe(before)
        assert [call for call, _ in run.stats.forced] == [1]
        assert equal(found, plain) == [True, True, False, True, False, False]
        assert run.stats.controlnet_left_out == PARTIAL - 1  # what was made up for serves call 2

    def test_what_cannot_be_made_up_for_is_said(self) -> None:
        pipe = Pipeline()
        add_lora(pipe.unet, "first", "second")
        clones: list[bool] = []

        def later(residual: torch.Tensor) -> torch.Tensor:
            return residual.clone() if clones else residual

        before: dict[int, Callable[[], object]] = {
            1: lambda: clones.append(True),
            2: lambda: use_lora(pipe.unet, "second"),
        }
        with (
            cached(pipe, Schedule(calls=CALLS), hold_controlnet=True),
            pytest.raises(UnsupportedModelError, match="attach without hold_controlnet"),
        ):
            pipe(before, cast=later)


class TestState:
    """It belongs to a run, and ends with it."""

    def test_a_new_run_begins_with_a_call(self) -> None:
        pipe = Pipeline()
        expected = by_hand(pipe)
        with cached(pipe, Schedule(calls=CALLS), hold_controlnet=True) as run:
            with pytest.raises(ZeroDivisionError):
                pipe({4: lambda: 1 / 0})
            for _ in range(2):
                assert all(equal(pipe(), expected))
                assert run.stats.controlnet_left_out == PARTIAL

    def test_residuals_are_freed(self) -> None:
        pipe = Pipeline()
        returned: list[weakref.ref[torch.Tensor]] = []
        pipe.controlnet.register_forward_hook(lambda *call: returned.append(weakref.ref(call[-1][1])))
        with cached(pipe, Schedule(calls=CALLS), hold_controlnet=True):
            pipe()
            assert {reference() for reference in returned} == {None}

    def test_both_modules_are_left_as_found(self) -> None:
        pipe = Pipeline()
        with cached(pipe, Schedule(calls=CALLS), hold_controlnet=True):
            assert "forward" in pipe.controlnet.__dict__
        with pytest.raises(ZeroDivisionError), cached(pipe, Schedule(calls=CALLS), hold_controlnet=True):
            pipe({1: lambda: 1 / 0})
        assert "forward" not in pipe.controlnet.__dict__
        assert "forward" not in pipe.unet.__dict__

    def test_removed_within_a_run(self) -> None:
        pipe, other = Pipeline(), Pipeline()
        other.controlnet = pipe.controlnet
        plain, calls = pipe(), iter(range(len(CALLS)))
        with cached(other, Schedule(calls=CALLS), hold_controlnet=True):  # the ControlNet stays as it is for this one
            handle = apply(pipe, Schedule(calls=CALLS), hold_controlnet=True)
            pipe.unet.register_forward_hook(lambda *_: handle.remove() if next(calls) == 3 else None)
            assert equal(pipe(), plain) == [True, False, False, True, True, True]

    def test_another_pipeline_with_the_same_controlnet(self) -> None:
        pipe, other = Pipeline(), Pipeline()
        other.controlnet = pipe.controlnet
        plain = other()
        with cached(pipe, Schedule(calls=CALLS), hold_controlnet=True):
            assert all(equal(other(), plain))

    def test_a_controlnet_that_came_later_is_called(self) -> None:
        pipe = Pipeline()
        with cached(pipe, Schedule(calls=CALLS)):
            called = pipe()
        with cached(pipe, Schedule(calls=CALLS), hold_controlnet=True) as run:
            pipe.controlnet = Pipeline().controlnet
            assert all(equal(pipe(), called))
        assert run.stats.controlnet_left_out == 0


class TestInPipelines:
    """Those of diffusers; each family has a cell in the table of docs/support.md."""

    def pipeline(self) -> Any:
        components = tiny.sd_components()
        with tiny.seeded(0):
            net = ControlNetModel.from_unet(components["unet"], conditioning_embedding_out_channels=(8, 16))
        return tiny.quiet(
            StableDiffusionControlNetPipeline(**components, controlnet=tiny.lively(net), requires_safety_checker=False)
        )

    def images(self, pipe: Any, **arguments: Any) -> torch.Tensor:
        arguments = {"prompt": "a coat", "image": PICTURE, "num_inference_steps": 6} | arguments
        images = pipe(**arguments, output_type="latent", generator=torch.Generator().manual_seed(0)).images
        assert isinstance(images, torch.Tensor)
        return images

    def test_where_control_ends_it_is_called_once_more(self) -> None:
        pipe = self.pipeline()
        with cached(pipe, uniform(6, 6, 0), hold_controlnet=True) as run:
            ended = self.images(pipe, control_guidance_end=0.5)
            assert run.stats.controlnet_left_out == 4
            assert not torch.equal(self.images(pipe), ended)
            assert run.stats.controlnet_left_out == 5

    def test_guess_mode_is_as_without(self) -> None:
        pipe = self.pipeline()
        with cached(pipe, uniform(6, 3, 0)):
            called = self.images(pipe, guess_mode=True)
        with cached(pipe, uniform(6, 3, 0), hold_controlnet=True) as run:
            assert torch.equal(self.images(pipe, guess_mode=True), called)
        assert run.stats.controlnet_left_out == 0

    def test_offloaded(self) -> None:
        pipe = self.pipeline()
        with cached(pipe, uniform(6, 3, 0), hold_controlnet=True):
            expected = self.images(pipe)
        for part in (pipe.controlnet, pipe.unet):
            cpu_offload_with_hook(part, torch.device("cpu"))
        with cached(pipe, uniform(6, 3, 0), hold_controlnet=True) as run:
            for _ in range(2):
                assert torch.equal(self.images(pipe), expected)
        assert run.stats.controlnet_left_out == 4

    def test_both_sides_of_guidance(self) -> None:
        """Flux calls its ControlNet once a step, and its denoiser twice (once in diffusers before 0.39)."""
        case = held_controlnet(next(each for each in COLUMNS if each.name == "Flux"))
        arguments = case.arguments | {"true_cfg_scale": 2.0, "num_inference_steps": 4, "output_type": "latent"}
        arguments |= {f"negative_{name}": -case.arguments[name] for name in tiny.POOLED}

        def run() -> Any:
            return case.pipe(**arguments, generator=torch.Generator().manual_seed(0)).images

        plain = run()
        with cached(case.pipe, uniform(4, 1, 0), hold_controlnet=True) as handle:
            assert torch.equal(run(), plain)
        calls = handle.stats.calls
        with cached(case.pipe, uniform(4, 2, 0), hold_controlnet=True) as handle:
            assert not torch.equal(run(), plain)
        assert calls == (8 if Version(version("diffusers")) >= Version("0.39") else 4)
        assert (handle.stats.partial, handle.stats.controlnet_left_out) == (calls // 2, 2)


class TestRefused:
    """By name, on attaching."""

    @pytest.mark.parametrize("target", [tiny.unet2d_condition, tiny.sd_pipeline])
    def test_where_there_is_none(self, target: Callable[[], Any]) -> None:
        found = target()
        with pytest.raises(UnsupportedModelError, match=r"hold_controlnet: found a \w+ without one, expected"):
            apply(found, uniform(4, 2, 0), hold_controlnet=True)
        apply(found, uniform(4, 2, 0)).remove()

    def test_adaptive_reuse(self) -> None:
        with pytest.raises(UnsupportedModelError, match='hold_controlnet: found reuse mode "adaptive"'):
            apply(Pipeline(), uniform(6, 2, 0).adaptive(0.1), hold_controlnet=True)

    def test_compiled_in_place(self) -> None:
        pipe = Pipeline()
        pipe.controlnet.compile()
        with pytest.raises(UnsupportedModelError, match="hold_controlnet: ControlNetModel was compiled in place"):
            apply(pipe, Schedule(calls=CALLS), hold_controlnet=True)
