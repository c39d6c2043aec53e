"""The rules of the runtime, on real pipelines with small random weights."""

from __future__ import annotations

import copy
import gc
import operator
import pickle
import threading
import warnings
import weakref
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMPipeline,
    DDIMScheduler,
    EulerAncestralDiscreteScheduler,
    HeunDiscreteScheduler,
    StableDiffusionPipeline,
)
from torch import nn

from deepcadence.schedules import (
    DeepcadenceError,
    Handle,
    Schedule,
    ScheduleError,
    ScheduleWarning,
    UnsupportedModelError,
    apply,
    cached,
    denoiser,
    fingerprint,
    from_full_calls,
    runtime,
    uniform,
)
from deepcadence.schedules.families import family_of
from deepcadence.schedules.families.unet_views import UNetViews
from tests import tiny

STEPS = 6
THREE_LEVELS: dict[str, Any] = {
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
}


def generate(pipe: Any, seed: int = 0, steps: int = STEPS, batch: int = 2, **arguments: Any) -> torch.Tensor:
    generators = [torch.Generator().manual_seed(seed + index) for index in range(batch)]
    common = {"generator": generators, "num_inference_steps": steps, "output_type": "np", **arguments}
    if "StableDiffusion" in type(pipe).__name__:
        output = pipe(prompt=["a coat", "a shoe"][:batch] if batch < 3 else ["a bag"] * batch, **common)
    else:
        output = pipe(batch_size=batch, **common)
    return torch.from_numpy(output.images)


class Oracle:
    """A model's forward that follows a call list with explicit full and partial calls."""

    def __init__(self, model: nn.Module, schedule: Schedule) -> None:
        self.views = family_of(model).views(model, schedule.cuts)
        self.calls, self.index, self.features = schedule.calls, 0, dict[int, torch.Tensor]()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        what = self.calls[self.index]
        self.index += 1
        if what == "full":
            output, self.features = self.views.full(*args, **kwargs)
            return output
        return self.views.partial(what, self.features[what], *args, **kwargs)


def by_hand(pipe: Any, schedule: Schedule, **arguments: Any) -> torch.Tensor:
    pipe.unet.forward = Oracle(pipe.unet, schedule)
    try:
        return generate(pipe, **arguments)
    finally:
        del pipe.unet.forward


class TestRule1Refresh:
    """Refreshing at each call is the bare model, and removal leaves no trace."""

    def test_full_at_every_call_is_bit_identical(self) -> None:
        pipe = tiny.ddim_pipeline()
        plain = generate(pipe)
        with cached(pipe, Schedule(calls=("full",) * STEPS)) as run:
            assert torch.equal(generate(pipe), plain)
        assert run.stats.full == STEPS

    def test_the_pipeline_is_as_found_after_removal(self) -> None:
        pipe = tiny.sd_pipeline()
        plain = generate(pipe)
        kind, attributes = type(pipe), dict(pipe.__dict__)
        inside = {name: dict(module.__dict__) for name, module in pipe.unet.named_modules()}
        with cached(pipe, uniform(STEPS, 3, 1)):
            assert not torch.equal(generate(pipe), plain)
            assert type(pipe).__name__ == kind.__name__
            assert isinstance(pipe, StableDiffusionPipeline)
        assert type(pipe) is kind
        assert pipe.__dict__ == attributes
        assert {name: dict(module.__dict__) for name, module in pipe.unet.named_modules()} == inside
        assert torch.equal(generate(pipe), plain)

    def test_removal_also_after_an_exception(self) -> None:
        pipe = tiny.ddim_pipeline()
        kind = type(pipe)
        with pytest.raises(KeyError), cached(pipe, uniform(STEPS, 3, 1)):
            raise KeyError
        assert type(pipe) is kind
        assert "forward" not in pipe.unet.__dict__

    @pytest.mark.parametrize("another_is_attached", [False, True])
    def test_a_run_goes_on_plain_when_its_schedule_is_removed_within_it(self, another_is_attached: bool) -> None:
        pipe = tiny.sd_pipeline()
        other = tiny.quiet(DDIMPipeline(unet=pipe.unet, scheduler=DDIMScheduler()))
        with cached(other, uniform(STEPS, 2, 0)) if another_is_attached else nullcontext():
            handle = apply(pipe, from_full_calls(STEPS, [0], 1))

            def remove(_pipe: Any, step: int, _timestep: Any, _kwargs: Any) -> dict[str, Any]:
                if step == 2:
                    handle.remove()
                return {}

            with warnings.catch_warnings():
                warnings.simplefilter("error", ScheduleWarning)
                found = generate(pipe, callback_on_step_end=remove)
        assert (handle.stats.full, handle.stats.partial) == (1, 2)
        with cached(pipe, Schedule(calls=("full", 1, 1, *["full"] * (STEPS - 3)))):
            assert torch.equal(generate(pipe), found)
        assert "forward" not in pipe.unet.__dict__

    def test_removing_twice_is_harmless(self) -> None:
        pipe = tiny.ddim_pipeline()
        handle = apply(pipe, uniform(STEPS, 3, 1))
        handle.remove()
        handle.remove()
        assert "forward" not in pipe.unet.__dict__


class TestRule3Memory:
    """One tensor per cut in use, freed when the run ends."""

    @pytest.mark.parametrize("calls", [("full", 1, 1), ("full", 1, 4)])
    def test_bytes_held(self, calls: tuple[Any, ...]) -> None:
        pipe = tiny.ddim_pipeline()
        family = family_of(pipe.unet)
        cuts = {cut for cut in calls if cut != "full"}
        _, features = family.views(pipe.unet, cuts).full(**family.example_inputs(pipe.unet, batch=2))
        expected = sum(feature.nelement() * 4 for feature in features.values())
        with cached(pipe, Schedule(calls=calls)) as run:
            generate(pipe, steps=3)
        assert run.stats.bytes_held == expected

    def test_nothing_outlives_the_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        kept: list[weakref.ref[torch.Tensor]] = []
        original = UNetViews.full

        def watched(self: UNetViews, *args: Any, **kwargs: Any) -> Any:
            output, features = original(self, *args, **kwargs)
            kept.extend(weakref.ref(feature) for feature in features.values())
            return output, features

        pipe = tiny.ddim_pipeline()
        monkeypatch.setattr(UNetViews, "full", watched)
        with cached(pipe, uniform(STEPS, 3, 1)):
            kept.clear()
            generate(pipe)
            gc.collect()
            assert len(kept) == 2
            assert [reference() for reference in kept] == [None, None]

    @pytest.mark.parametrize("bare", [False, True])
    def test_a_handle_that_is_kept_keeps_no_model(self, bare: bool) -> None:
        pipe = tiny.ddim_pipeline()
        kept = weakref.ref(pipe.unet)
        gc.collect()
        gc.disable()  # nothing has to be collected, so that memory is free at once
        try:
            with cached(pipe.unet if bare else pipe, uniform(STEPS, 3, 1)) as run:
                generate(pipe)
            del pipe
            assert kept() is None
        finally:
            gc.enable()
        assert run.stats.calls == run.schedule.num_calls == STEPS

    def test_a_copy_keeps_no_original(self) -> None:
        model = tiny.unet2d()
        kept = weakref.ref(model)
        with cached(model, uniform(STEPS, 3, 1)):
            twin = copy.deepcopy(model)
            pickled = len(pickle.dumps(model))
        assert pickled < 1.1 * len(pickle.dumps(model))
        del model
        gc.collect()
        assert kept() is None
        assert isinstance(twin, nn.Module)


class TestRule4State:
    """State belongs to a run."""

    def test_each_run_starts_full_whatever_the_last_one_did(self) -> None:
        pipe = tiny.sd_pipeline()
        schedule = uniform(STEPS, 3, 1)
        expected = by_hand(pipe, schedule)
        with cached(pipe, schedule) as run:
            with pytest.raises(ZeroDivisionError):
                generate(pipe, callback_on_step_end=lambda _pipe, step, _t, _kw: {} if step < 1 else 1 / 0)
            assert torch.equal(generate(pipe), expected)
            generate(pipe, callback_on_step_end=interrupt_at(1))
            assert run.stats.calls == 2
            assert torch.equal(generate(pipe), expected)
            generate(pipe, steps=4, batch=1)
            assert torch.equal(generate(pipe), expected)
            generate(pipe, height=24, width=8)
            assert torch.equal(generate(pipe), expected)
            assert run.stats.forced == ()

    def test_two_pipelines_that_share_a_unet(self) -> None:
        first = tiny.ddim_pipeline()
        second = tiny.quiet(type(first)(unet=first.unet, scheduler=DDIMScheduler()))
        third = tiny.quiet(type(first)(unet=first.unet, scheduler=DDIMScheduler()))
        plain = generate(first)
        one, two = uniform(STEPS, 3, 1), uniform(STEPS, 2, 4)
        expected_one, expected_two = by_hand(first, one), by_hand(first, two)
        with cached(first, one):
            with cached(second, two):
                assert torch.equal(generate(first), expected_one)
                assert torch.equal(generate(second), expected_two)
                assert torch.equal(generate(third), plain)
            assert torch.equal(generate(first), expected_one)
            assert torch.equal(generate(second), plain)
        assert "forward" not in first.unet.__dict__

    def test_threads_do_not_see_each_other(self) -> None:
        first = tiny.ddim_pipeline()
        pipes = [first, *(tiny.quiet(type(first)(unet=first.unet, scheduler=DDIMScheduler())) for _ in range(3))]
        schedules = [uniform(STEPS, interval, cut) for interval, cut in ((2, 0), (3, 1), (2, 4), (1, 1))]
        expected = [by_hand(first, schedule, seed=seed) for seed, schedule in enumerate(schedules)]
        results: dict[int, torch.Tensor] = {}
        handles = [apply(pipe, schedule) for pipe, schedule in zip(pipes, schedules, strict=True)]

        def work(index: int) -> None:
            for _ in range(3):
                results[index] = generate(pipes[index], seed=index)

        threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for handle in handles:
            handle.remove()
        assert all(torch.equal(results[index], expected[index]) for index in range(4))
        assert "forward" not in first.unet.__dict__

    def test_one_schedule_at_a_time_on_a_pipeline(self) -> None:
        pipe = tiny.ddim_pipeline()
        with cached(pipe, uniform(STEPS, 3, 1)), pytest.raises(DeepcadenceError, match="has a schedule already"):
            apply(pipe, uniform(STEPS, 2, 1))

    def test_of_two_threads_that_attach_at_once_one_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pipe, meeting = tiny.ddim_pipeline(), threading.Barrier(2, timeout=60)
        handles: list[Handle] = []
        refused: list[str] = []

        def slow_test(plan: Any) -> None:
            meeting.wait()  # both have found the pipeline free

        def attach() -> None:
            try:
                handles.append(apply(pipe, uniform(STEPS, 3, 1)))
            except DeepcadenceError as error:
                refused.append(str(error))

        monkeypatch.setattr(runtime, "self_test", slow_test)
        threads = [threading.Thread(target=attach) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(handles), len(refused)) == (1, 1)
        assert "has a schedule already" in refused[0]
        generate(pipe)
        assert handles[0].stats.calls == STEPS
        handles[0].remove()
        assert type(pipe) is DDIMPipeline
        assert "forward" not in pipe.unet.__dict__

    def test_a_denoiser_replaced_while_attached_is_noticed(self) -> None:
        pipe = tiny.ddim_pipeline()
        with cached(pipe, uniform(STEPS, 3, 1)):
            pipe.unet = tiny.unet2d(seed=3)
            with pytest.raises(UnsupportedModelError, match="was replaced after"):
                generate(pipe)


def interrupt_at(last: int) -> Any:
    def callback(pipe: Any, step: int, _timestep: Any, _kwargs: Any) -> dict[str, Any]:
        pipe._interrupt = step >= last
        return {}

    return callback


class TestRule5Change:
    """A change inside a run forces a full call, which is counted and reported."""

    def manual(self, changes: dict[int, dict[str, Any]], calls: tuple[Any, ...] = ("full", 1, 1, 1)) -> Any:
        model = tiny.unet2d_condition()
        inputs = family_of(model).example_inputs(model, batch=2, generator=torch.Generator().manual_seed(0))
        with torch.no_grad(), cached(model, Schedule(calls=calls)) as run:
            for call in range(len(calls)):
                inputs = {**inputs, **changes.get(call, {})}
                output = model(**inputs).sample
                assert torch.isfinite(output).all()
        return run.stats

    def test_nothing_changed(self) -> None:
        assert self.manual({}).forced == ()

    def test_a_smaller_batch_as_when_guidance_is_switched_off(self) -> None:
        smaller = {"sample": torch.randn(1, 4, 8, 8), "encoder_hidden_states": torch.randn(1, 77, 32), "timestep": 3}
        stats = self.manual({2: smaller})
        assert stats.forced == ((2, "sample changed from [2, 4, 8, 8] float32 on cpu to [1, 4, 8, 8] float32 on cpu"),)
        assert (stats.full, stats.partial) == (2, 2)

    def test_another_size(self) -> None:
        stats = self.manual({1: {"sample": torch.randn(2, 4, 16, 8)}, 3: {"sample": torch.randn(2, 4, 8, 8)}})
        assert [call for call, _ in stats.forced] == [1, 3]

    def test_a_condition_that_comes_and_goes(self) -> None:
        mask = torch.ones(2, 77)
        stats = self.manual({1: {"encoder_attention_mask": mask}, 2: {"encoder_attention_mask": None}})
        assert [call for call, _ in stats.forced] == [1, 2]

    def test_the_timestep_may_change_its_kind(self) -> None:
        assert (
            self.manual({1: {"timestep": 3}, 2: {"timestep": torch.tensor(2)}, 3: {"return_dict": True}}).forced == ()
        )

    def test_another_dtype(self) -> None:
        model = tiny.unet2d()
        family = family_of(model)
        inputs = family.example_inputs(model)
        with torch.no_grad(), cached(model, Schedule(calls=("full", 1, 1))) as run:
            model(**inputs)
            model.double()
            model(**{**inputs, "sample": inputs["sample"].double()})
            output = model(**{**inputs, "sample": inputs["sample"].double()}).sample
        assert output.dtype == torch.float64
        assert [call for call, _ in run.stats.forced] == [1]

    def test_another_adapter(self) -> None:
        from peft import LoraConfig

        pipe = tiny.sd_pipeline()
        config = LoraConfig(r=2, target_modules=["to_q", "to_k"], init_lora_weights=False)
        pipe.unet.add_adapter(config, "first")
        pipe.unet.add_adapter(config, "second")
        pipe.unet.set_adapter("first")
        schedule = uniform(STEPS, 6, 1)

        def switch(_pipe: Any, step: int, _timestep: Any, _kwargs: Any) -> dict[str, Any]:
            if step == 2:
                pipe.unet.set_adapter("second")
            return {}

        with cached(pipe, schedule) as run:
            generate(pipe)
            assert len(run.stats.forced) == 0
            generate(pipe, callback_on_step_end=switch)
            assert list(run.stats.forced) == [(3, "an adapter changed")]
            pipe.unet.set_adapter("first")
            expected = by_hand_under(pipe, from_full_calls(STEPS, [0, 3], 1), switch)
            pipe.unet.set_adapter("first")
            assert torch.equal(generate(pipe, callback_on_step_end=switch), expected)
            generate(pipe, cross_attention_kwargs={"scale": 0.5})
            assert run.stats.forced == ()

    def with_lora(self, seed: int = 0) -> Any:
        model = tiny.unet2d_condition()
        self.add_lora(model, seed)
        return model

    def add_lora(self, model: Any, seed: int) -> None:
        from peft import LoraConfig

        with tiny.seeded(seed):
            config = LoraConfig(r=2, target_modules=["to_q", "to_k"], init_lora_weights=False)
            model.add_adapter(config, "style")

    @pytest.mark.parametrize("remove", ["delete_adapters", "unload_lora"])
    def test_another_adapter_of_the_same_name(self, remove: str) -> None:
        model = self.with_lora()
        inputs = family_of(model).example_inputs(model)
        with torch.no_grad(), cached(model, uniform(6, 6, 1)) as run:
            model(**inputs)
            model(**inputs)
            getattr(model, remove)(*(["style"] if remove == "delete_adapters" else []))
            self.add_lora(model, seed=5)
            found = [model(**inputs).sample]
            model.set_adapters(["style"], [0.25])
            found += [model(**inputs).sample]
            model.fuse_lora()
            model(**inputs)
        assert run.stats.forced == tuple((call, "an adapter changed") for call in (2, 3, 4))
        model.unfuse_lora()
        with torch.no_grad():
            torch.testing.assert_close(model(**inputs).sample, found[1])
            model.set_adapters(["style"], [1.0])
            torch.testing.assert_close(model(**inputs).sample, found[0])

    def test_scales_that_are_tensors(self) -> None:
        """As a LoRA has them that other weights may be swapped into (`enable_lora_hotswap`)."""
        from peft.utils.hotswap import prepare_model_for_compiled_hotswap

        model = self.with_lora()
        prepare_model_for_compiled_hotswap(model, target_rank=4)
        scales = [layer.scaling for layer in model.modules() if isinstance(getattr(layer, "scaling", None), dict)]
        assert all(isinstance(scale["style"], torch.Tensor) for scale in scales)
        inputs = family_of(model).example_inputs(model)
        with torch.no_grad(), cached(model, uniform(6, 6, 1)) as run:
            model(**inputs)
            model(**inputs)
            scales[-1]["style"].fill_(0.25)
            model(**inputs)
            model(**inputs)
        assert run.stats.forced == ((2, "an adapter changed"),)

    def test_scales_that_are_numbers_of_numpy(self) -> None:
        import numpy as np

        model = self.with_lora()
        inputs = family_of(model).example_inputs(model)
        with torch.no_grad(), cached(model, uniform(6, 6, 1)) as run:
            for scale in (1, 0.5, 0.5):
                model(**inputs, cross_attention_kwargs={"scale": np.float32(scale)})
        assert [call for call, _ in run.stats.forced] == [1]

    @pytest.mark.parametrize("elsewhere", [False, True])
    def test_adapters_that_did_not_change_are_compared_only(
        self, monkeypatch: pytest.MonkeyPatch, elsewhere: bool
    ) -> None:
        """Unless this version of PEFT keeps their state elsewhere: then it is read by its public names."""
        read: list[Any] = []
        original = fingerprint._adapter_state

        def watched(layer: Any) -> Any:
            read.append(layer)
            return original(layer)

        monkeypatch.setattr(fingerprint, "_adapter_state", watched)
        if elsewhere:
            monkeypatch.setattr(fingerprint, "_KEPT", (operator.itemgetter("elsewhere"),))
        model = self.with_lora()
        inputs = family_of(model).example_inputs(model)
        with torch.no_grad(), cached(model, uniform(6, 3, 1)) as run:
            model(**inputs)
            before = len(read)
            for _ in range(4):
                model(**inputs)
            assert (len(read) > before) == elsewhere
            model.set_adapters(["style"], [0.25])
            model(**inputs)
        assert run.stats.forced == ((5, "an adapter changed"),)


def by_hand_under(pipe: Any, schedule: Schedule, callback: Any) -> torch.Tensor:
    other = tiny.quiet(StableDiffusionPipeline(**pipe.components, requires_safety_checker=False))
    held = other.unet.__dict__.pop("forward")
    try:
        return by_hand(other, schedule, callback_on_step_end=callback)
    finally:
        other.unet.forward = held


class TestRule6Calls:
    """Calls are counted from the start of the run; nothing else is looked up."""

    def test_heun_makes_more_calls_than_steps(self) -> None:
        pipe = tiny.sd_pipeline()
        pipe.scheduler = HeunDiscreteScheduler.from_config(pipe.scheduler.config)
        schedule = uniform(2 * STEPS - 1, 3, 1)
        expected = by_hand(pipe, schedule)
        with cached(pipe, schedule) as run:
            assert torch.equal(generate(pipe), expected)
        assert run.stats.calls == 2 * STEPS - 1

    def test_too_few_calls_in_the_schedule(self, tmp_path: Path) -> None:
        pipe = tiny.ddim_pipeline()
        uniform(4, 2, 1).save(tmp_path / "four.json")
        with cached(pipe, tmp_path / "four.json"):
            with pytest.raises(ScheduleError, match=r"four\.json: calls: found a schedule of 4 calls.*makes more"):
                generate(pipe, steps=5)
            generate(pipe, steps=4)

    def test_too_many_calls_in_the_schedule_are_said_once(self) -> None:
        pipe = tiny.ddim_pipeline()
        with cached(pipe, uniform(10, 2, 1)) as run:
            with pytest.warns(ScheduleWarning, match=r"made 4 calls, the schedule has 10.*resample\(4\)"):
                generate(pipe, steps=4)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                generate(pipe, steps=4)
        assert (run.stats.full, run.stats.partial) == (2, 2)

    def test_stochastic_samplers_draw_the_same_noise(self) -> None:
        pipe = tiny.sd_pipeline()
        pipe.scheduler = EulerAncestralDiscreteScheduler.from_config(pipe.scheduler.config)
        plain = generate(pipe)
        with cached(pipe, uniform(STEPS, 1, 0)):
            assert torch.equal(generate(pipe), plain)


class TestRule7Compile:
    """Two graphs per cut, no breaks, and the decision outside."""

    def test_two_graphs_per_cut_and_no_more_in_later_runs(self) -> None:
        from torch._dynamo.testing import CompileCounter

        pipe = tiny.sd_pipeline()
        schedule = Schedule(calls=("full", 1, 1, "full", 1, 1))
        expected = by_hand(pipe, schedule)
        torch._dynamo.reset()
        counter = CompileCounter()
        pipe.unet = torch.compile(pipe.unet, backend=counter, fullgraph=True)
        with cached(pipe, schedule) as run:
            for _ in range(3):
                torch.testing.assert_close(generate(pipe), expected)
                assert run.stats.partial == 4
                assert counter.frame_count == 2
        assert counter.frame_count == 2

    def test_attaching_again_compiles_nothing_that_was(self) -> None:
        from torch._dynamo.testing import CompileCounter

        pipe = tiny.sd_pipeline()
        torch._dynamo.reset()
        counter = CompileCounter()
        pipe.unet = torch.compile(pipe.unet, backend=counter, fullgraph=True)
        counts = []
        for schedule in (uniform(3, 3, 1), uniform(3, 3, 1), uniform(3, 2, 1), uniform(3, 3, 4), uniform(3, 3, 1)):
            with cached(pipe, schedule) as run:
                generate(pipe, steps=3)
            assert run.stats.partial > 0
            counts.append(counter.frame_count)
        assert counts == [2, 2, 2, 4, 4]

    def test_more_cuts_than_versions_of_one_code_object(self) -> None:
        from torch._dynamo.testing import CompileCounter

        model = tiny.unet2d(layers_per_block=3, block_out_channels=(8, 16, 16), norm_num_groups=4, **THREE_LEVELS)
        inputs = family_of(model).example_inputs(model)
        torch._dynamo.reset()
        counter = CompileCounter()
        compiled: Any = torch.compile(model, backend=counter, fullgraph=True)
        cuts = list(family_of(model).cuts(model))
        assert len(cuts) > 8
        with torch.no_grad(), cached(compiled, Schedule(calls=("full", *cuts))) as run:
            expected = compiled(**inputs).sample
            for _ in cuts:
                torch.testing.assert_close(compiled(**inputs).sample, expected)
        assert run.stats.partial == len(cuts)
        assert counter.frame_count == 1 + len(cuts)

    @pytest.mark.parametrize("order", [0, 1])
    def test_features_outlive_the_memory_of_cuda_graphs(self, order: int) -> None:
        """As with mode="reduce-overhead": what a graph returns is memory that the next call of any graph overwrites."""
        returned: list[torch.Tensor] = []

        def backend(module: torch.fx.GraphModule, _inputs: Any) -> Any:
            def call(*inputs: Any) -> Any:
                for tensor in returned:
                    tensor.fill_(torch.nan)
                returned[:] = module(*inputs)
                return tuple(returned)

            return call

        pipe = tiny.sd_pipeline()
        schedule = Schedule(calls=("full", 1, 4, "full", 4, 1))
        schedule = schedule.extrapolated(order) if order else schedule
        with cached(pipe, schedule):
            expected = generate(pipe)
        torch._dynamo.reset()
        pipe.unet = torch.compile(pipe.unet, backend=backend, fullgraph=True)
        with cached(pipe, schedule) as run:
            torch.testing.assert_close(generate(pipe), expected)
        assert run.stats.partial == 4

    def test_compiled_in_place_is_refused_by_name(self) -> None:
        pipe = tiny.ddim_pipeline()
        pipe.unet.compile(backend="eager")
        with pytest.raises(UnsupportedModelError, match=r"pipe\.unet = torch\.compile"):
            apply(pipe, uniform(STEPS, 2, 1))


class TestRule8Conditions:
    """What diffusers sets on the model before or after attaching is seen."""

    def test_freeu_set_after_attaching(self) -> None:
        pipe = tiny.sd_pipeline()
        schedule = uniform(STEPS, 3, 1)
        pipe.enable_freeu(s1=0.9, s2=0.2, b1=1.5, b2=1.6)
        expected = by_hand(pipe, schedule)
        pipe.disable_freeu()
        with cached(pipe, schedule):
            without = generate(pipe)
            pipe.enable_freeu(s1=0.9, s2=0.2, b1=1.5, b2=1.6)
            assert torch.equal(generate(pipe), expected)
            assert not torch.equal(without, expected)

    def test_offload_hooks_stay_outermost(self) -> None:
        from accelerate import cpu_offload_with_hook

        pipe = tiny.ddim_pipeline()
        schedule = uniform(STEPS, 3, 1)
        expected = by_hand(pipe, schedule)
        _, hook = cpu_offload_with_hook(pipe.unet, "cpu")
        called: list[int] = []
        original = pipe.unet._hf_hook.pre_forward

        def watched(*args: Any, **kwargs: Any) -> Any:
            called.append(1)
            return original(*args, **kwargs)

        pipe.unet._hf_hook.pre_forward = watched
        hooked = pipe.unet.forward
        with cached(pipe, schedule):
            called.clear()
            assert torch.equal(generate(pipe), expected)
            assert len(called) == STEPS
        assert pipe.unet.forward is hooked
        hook.remove()
        assert torch.equal(by_hand(pipe, schedule), expected)

    def test_hooks_on_the_model_run_once_a_call(self) -> None:
        pipe = tiny.ddim_pipeline()
        seen: list[int] = []
        handle = pipe.unet.register_forward_hook(lambda *_: seen.append(1))
        with cached(pipe, uniform(STEPS, 3, 1)):
            seen.clear()
            generate(pipe)
        handle.remove()
        assert len(seen) == STEPS


class TestChangesOfTheModel:
    """What is done to a model while a schedule is attached is seen, or refused."""

    def test_a_deep_copy_has_a_life_of_its_own(self) -> None:
        pipe = tiny.ddim_pipeline()
        with cached(pipe, uniform(STEPS, 3, 1)):
            twin = copy.deepcopy(pipe.unet)
            with torch.no_grad():
                for parameter in twin.parameters():
                    parameter.zero_()
                inputs = family_of(pipe.unet).example_inputs(pipe.unet)
                assert twin(**inputs).sample.abs().max() == 0
        with cached(twin, uniform(STEPS, 3, 1)), torch.no_grad():
            assert twin(**inputs).sample.abs().max() == 0

    @pytest.mark.parametrize("how", ["copy", "deepcopy", "pickle"])
    def test_a_copy_of_an_attached_pipeline_has_no_schedule(self, how: str) -> None:
        pipe = tiny.ddim_pipeline()
        plain, kind = generate(pipe), type(pipe)
        schedule = uniform(STEPS, 3, 1)
        with cached(pipe, schedule):
            expected = generate(pipe)
            made = pickle.loads(pickle.dumps(pipe)) if how == "pickle" else getattr(copy, how)(pipe)  # noqa: S301
        assert type(made) is kind
        assert torch.equal(generate(made), plain)
        with cached(made, schedule):
            assert torch.equal(generate(made), expected)
        assert torch.equal(generate(made), plain)

    def test_a_pipeline_made_from_an_attached_ones_class_is_not_attached(self) -> None:
        pipe = tiny.ddim_pipeline()
        plain, kind = generate(pipe), type(pipe)
        with cached(pipe, uniform(STEPS, 3, 1)):
            sibling = tiny.quiet(type(pipe)(**pipe.components))
            assert torch.equal(generate(sibling), plain)
            with cached(sibling, uniform(STEPS, 2, 1)) as run:
                assert not torch.equal(generate(sibling), plain)
                assert run.stats.full == STEPS // 2
        assert torch.equal(generate(sibling), plain)
        assert type(pipe) is kind

    @pytest.mark.parametrize("cut", range(6))
    def test_freeu_switched_on_within_a_run(self, cut: int) -> None:
        model = tiny.unet2d_condition()
        inputs = family_of(model).example_inputs(model)
        with torch.no_grad(), cached(model, Schedule(calls=("full", cut, cut, cut, "full"))) as run:
            model(**inputs)
            model.enable_freeu(s1=0.9, s2=0.2, b1=1.5, b2=1.6)
            outputs = [model(**inputs).sample for _ in range(4)]
        assert run.stats.forced == ((1, "the model was changed"),)
        expected = model(**inputs).sample
        assert all(torch.equal(output, expected) for output in outputs)

    def test_a_replaced_forward_is_refused_by_name(self) -> None:
        pipe = tiny.ddim_pipeline()
        pipe.unet.forward = lambda *_, **__: None
        with pytest.raises(UnsupportedModelError, match=r"forward of this UNet2DModel was replaced, by .*lambda"):
            apply(pipe, uniform(STEPS, 3, 1))

    def test_leaving_autocast_within_a_run(self) -> None:
        model = tiny.unet2d()
        inputs = family_of(model).example_inputs(model)
        with torch.no_grad(), cached(model, uniform(3, 3, 1)) as run:
            with torch.autocast("cpu", torch.bfloat16):
                model(**inputs)
                model(**inputs)
            model(**inputs)
        assert run.stats.forced == ((2, "autocast changed from torch.bfloat16 to None"),)

    def test_an_exception_leaves_no_feature_behind(self) -> None:
        model = tiny.unet2d()
        inputs = family_of(model).example_inputs(model)
        views = UNetViews(model, [2])
        handle = model.conv_out.register_forward_hook(lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            views.full(**inputs)
        handle.remove()
        assert views._features == {}

    def test_one_bare_run_at_a_time_in_a_thread(self) -> None:
        model = tiny.unet2d()
        inputs = family_of(model).example_inputs(model)
        handle = apply(model, uniform(4, 4, 1))
        with torch.no_grad():
            model(**inputs)
            with pytest.raises(DeepcadenceError, match="a run of this UNet2DModel is under way"):
                apply(model, uniform(4, 2, 1))
            model(**inputs)
        assert (handle.stats.full, handle.stats.partial, handle.stats.forced) == (1, 1, ())
        remover = threading.Thread(target=handle.remove)
        remover.start()
        remover.join()
        pipe = tiny.quiet(DDIMPipeline(unet=model, scheduler=DDIMScheduler()))
        plain = generate(pipe)
        other = tiny.quiet(DDIMPipeline(unet=model, scheduler=DDIMScheduler()))
        with cached(other, uniform(STEPS, 2, 1)):
            assert torch.equal(generate(pipe), plain)

    def test_weights_offloaded_layer_by_layer(self) -> None:
        from accelerate import cpu_offload

        pipe = tiny.ddim_pipeline()
        schedule = uniform(STEPS, 3, 0)
        expected = by_hand(pipe, schedule)
        cpu_offload(pipe.unet, "cpu")
        with cached(pipe, schedule):
            torch.testing.assert_close(generate(pipe), expected)


def _out_of_memory(*_: Any) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory")


class TestRule9SelfTest:
    """A network that the views do not understand is refused on attaching."""

    def test_a_doctored_forward_is_refused(self) -> None:
        pipe = tiny.ddim_pipeline()
        original = type(pipe.unet)

        class Doctored(original):  # type: ignore[misc, valid-type]
            """Uses the mid block's output in a way that no view knows of."""

            def forward(self, sample: torch.Tensor, timestep: Any, *args: Any, **kwargs: Any) -> Any:
                inner: list[torch.Tensor] = []
                block = self.up_blocks[0]
                handle = block.register_forward_hook(lambda _module, _args, output: inner.append(output.mean()))
                output = super().forward(sample, timestep, *args, return_dict=False)[0] + 0
                handle.remove()
                return (output + len(self.up_blocks) + sum(inner),)

        pipe.unet.__class__ = Doctored
        with pytest.raises(UnsupportedModelError, match="self-test failed: a full call of Doctored differs"):
            apply(pipe, uniform(STEPS, 2, 1))
        assert "forward" not in pipe.unet.__dict__

    def test_a_lack_of_memory_is_not_blamed_on_the_model(self) -> None:
        pipe = tiny.ddim_pipeline()
        handle = pipe.unet.conv_in.register_forward_hook(_out_of_memory)
        with pytest.raises(torch.OutOfMemoryError):
            apply(pipe, uniform(STEPS, 2, 1))
        handle.remove()
        assert "forward" not in pipe.unet.__dict__

    def test_the_random_state_is_left_alone(self) -> None:
        pipe = tiny.ddim_pipeline()
        torch.manual_seed(5)
        expected = torch.rand(1)
        torch.manual_seed(5)
        apply(pipe, uniform(STEPS, 2, 1)).remove()
        assert torch.equal(torch.rand(1), expected)

    def test_the_random_state_is_not_even_touched(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Other threads may be drawing from it: seeded for a moment only, it would give them the same noise twice."""
        pipe = tiny.ddim_pipeline()
        monkeypatch.setattr(torch, "manual_seed", lambda _: pytest.fail("the generators were seeded"))
        apply(pipe, uniform(STEPS, 2, 1)).remove()

    @pytest.mark.parametrize("make", [tiny.unet2d, tiny.unet2d_xl, tiny.unet_spatio_temporal, tiny.sd3, tiny.flux])
    def test_another_default_device(self, make: Any) -> None:
        """Inputs are drawn on the CPU, also under `torch.set_default_device("cuda")`."""
        model = make()
        with torch.device("meta"):
            apply(model, uniform(STEPS, 2, 1)).remove()

    def test_a_model_in_training_mode_draws_the_same(self) -> None:
        pipe = tiny.ddim_pipeline(dropout=0.5)
        pipe.unet.train()
        torch.manual_seed(5)
        expected = torch.rand(1)
        torch.manual_seed(5)
        apply(pipe, uniform(STEPS, 1, 1)).remove()
        assert torch.equal(torch.rand(1), expected)


class TestTargets:
    """Pipelines, bare denoisers, and what is neither."""

    def test_a_bare_denoiser_is_one_run(self) -> None:
        model = tiny.unet2d()
        inputs = family_of(model).example_inputs(model)
        with torch.no_grad(), cached(model, uniform(3, 3, 1)) as run:
            for _ in range(3):
                model(**inputs)
            assert (run.stats.full, run.stats.partial) == (1, 2)
            with pytest.raises(ScheduleError, match="makes more"):
                model(**inputs)
        assert "forward" not in model.__dict__

    def test_the_same_schedule_as_file_or_object(self, tmp_path: Path) -> None:
        pipe = tiny.ddim_pipeline()
        schedule = uniform(STEPS, 3, 1)
        schedule.save(tmp_path / "schedule.json")
        with cached(pipe, schedule):
            expected = generate(pipe)
        with cached(pipe, str(tmp_path / "schedule.json")):
            assert torch.equal(generate(pipe), expected)

    def test_a_cut_that_the_model_lacks(self) -> None:
        with pytest.raises(ScheduleError, match="6"):
            apply(tiny.ddim_pipeline(), uniform(STEPS, 2, 6))

    def test_neither_pipeline_nor_module(self) -> None:
        with pytest.raises(UnsupportedModelError, match=r"found a str; expected a torch module or a pipeline"):
            apply("model", uniform(STEPS, 2, 1))

    def test_pipelines_whose_calls_cannot_be_followed(self) -> None:
        """They would never begin a run, and so never use the schedule."""

        class Mute:
            unet = tiny.unet2d()

        class Fixed:
            __slots__ = ("unet",)

            def __init__(self) -> None:
                self.unet = Mute.unet

            def __call__(self) -> None: ...

        for target, message in (
            (Mute(), "a Mute cannot be called"),
            (Fixed(), "calls of this Fixed cannot be followed"),
        ):
            with pytest.raises(UnsupportedModelError, match=message):
                apply(target, uniform(STEPS, 2, 1))
        assert "forward" not in Mute.unet.__dict__

    def test_denoiser(self) -> None:
        pipe = tiny.ddim_pipeline()
        assert denoiser(pipe) is pipe.unet
        assert denoiser(torch.compile(pipe.unet, backend="eager")) is pipe.unet


def test_the_self_test_of_a_large_model_is_smaller_and_notices_as_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attaching to Stable Diffusion takes less than a second then, on two cores."""
    small, large = tiny.unet2d(), tiny.unet2d(block_out_channels=(32, 64), norm_num_groups=2)
    sizes = [family_of(model).small_size(model) for model in (small, large)]
    assert sizes[1] == tuple(side // 2 for side in sizes[0])
    apply(large, uniform(4, 2, 0)).remove()
    forward = type(large.up_blocks[-1]).forward
    monkeypatch.setattr(type(large.up_blocks[-1]), "forward", lambda self, x, *a, **k: forward(self, x, *a, **k) * 1.01)
    with pytest.raises(UnsupportedModelError, match="self-test failed"):
        apply(large, uniform(4, 2, 0))
