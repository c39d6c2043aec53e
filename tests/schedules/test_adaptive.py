"""Reuse "adaptive" in a run: partial calls that go on to full ones as their input asks."""

from __future__ import annotations

import copy
import threading
from functools import partial
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from deepcadence.probe import count_macs
from deepcadence.schedules import Cost, Schedule, UnsupportedModelError, apply, cached, family_of, uniform
from deepcadence.schedules.adaptive import relative_change
from deepcadence.schedules.families.midway import Crossing
from tests import tiny
from tests.schedules.test_runtime import generate

STEPS = 7
CALLS: tuple[Any, ...] = ("full", 1, 1, "full", 0, 3, 1)


def adaptive(threshold: float, max_hold: int | None = None, calls: tuple[Any, ...] = CALLS) -> Schedule:
    return Schedule(calls=calls).adaptive(threshold, max_hold)


def followed(pipe: Any, plan: Schedule, images: torch.Tensor, went_on: tuple[int, ...], **arguments: Any) -> None:
    """Assert that images are those of a schedule that holds and has the calls that went on as full ones."""
    calls = tuple("full" if index in went_on else call for index, call in enumerate(plan.calls))
    with cached(pipe, Schedule(calls=calls)):
        assert torch.equal(generate(pipe, steps=STEPS, **arguments), images)


class TestThreshold:
    """What the input decides."""

    @pytest.mark.parametrize("make", [tiny.ddim_pipeline, tiny.sd_pipeline])
    def test_any_threshold_gives_a_schedule_that_holds(self, make: Any) -> None:
        pipe, seen = make(), set()
        for threshold in (0.0, 0.3, 0.6, 1e9):
            plan = adaptive(threshold)
            with cached(pipe, plan) as run:
                images = generate(pipe, steps=STEPS)
            assert run.stats.full == 2 + len(run.stats.went_on)
            assert run.stats.calls == STEPS
            assert run.stats.forced == ()
            followed(pipe, plan, images, run.stats.went_on)
            seen.add(run.stats.went_on)
        assert {(), (1, 2, 4, 5, 6)} < seen  # the ends, and something between

    def test_the_largest_change_of_the_batch_decides(self) -> None:
        then = torch.ones(3, 2, 4, 4)
        now = then * torch.tensor([1.0, 2.0, 1.25]).reshape(3, 1, 1, 1)
        assert relative_change(now, then).item() == pytest.approx(0.5)
        assert relative_change(now.half(), then.half()).item() == pytest.approx(0.5)
        nothing = torch.zeros(1, 2, 4, 4)
        assert not relative_change(nothing, nothing) <= 1e9  # not a number: the call goes on

    def test_it_is_what_entered_the_cut_at_the_last_full_call(self) -> None:
        model = tiny.unet2d()
        inputs = [torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
        near, far = inputs[0] + 0.01 * inputs[1], inputs[2]
        midway, (first, second) = family_of(model).midway(model, [1]), (Crossing(), Crossing())
        with torch.no_grad():
            midway(first, inputs[0], 500)
            midway(second, near, 490)
        change = relative_change(second.entered[1], first.entered[1]).item()
        for threshold, went_on in ((change * 1.01, (2,)), (change * 0.99, (1, 2))):
            handle = apply(model, adaptive(threshold, calls=("full", 1, 1, 1)))
            for sample, step in ((inputs[0], 500), (near, 490), (far, 480), (far, 480)):
                model(sample, step)
            assert handle.stats.went_on == went_on
            handle.remove()

    def test_at_most_so_many_in_a_row(self) -> None:
        pipe, plan = tiny.ddim_pipeline(), adaptive(1e9, 2, ("full", 1, 1, 1, 1, "full", 1))
        with cached(pipe, plan) as run:
            images = generate(pipe, steps=STEPS)
        assert run.stats.went_on == (3,)
        followed(pipe, plan, images, (3,))

    def test_guidance_that_takes_several_calls_a_step_decides_for_each_side(self) -> None:
        arguments = {"height": 16, "width": 16, "true_cfg_scale": 3.0, "num_inference_steps": 3, "output_type": "np"}
        pooled = (*tiny.POOLED, *(f"negative_{name}" for name in tiny.POOLED))
        pipe = tiny.flux_pipeline()
        with cached(pipe, adaptive(0, calls=("full", 0, 0))) as run:
            pipe(**arguments, **tiny.text(*pooled), generator=torch.Generator().manual_seed(0))
        assert run.stats.went_on == (1, 1, 2, 2)
        assert (run.stats.full, run.stats.partial) == (6, 0)


def said(_: torch.Tensor, *, answer: bool) -> bool:
    return answer


class Reads(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts values that are read off a tensor: on an accelerator, each waits for the device."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


class TestCost:
    """What a call reads and computes."""

    @pytest.mark.parametrize(("threshold", "max_hold"), [(0, None), (1e9, None), (1e9, 1)])
    def test_one_read_for_each_call_that_asks_and_none_for_others(self, threshold: float, max_hold: int | None) -> None:
        model = tiny.unet2d()
        sample, step = torch.randn(1, 3, 16, 16), torch.tensor([500])
        handle = apply(model, adaptive(threshold, max_hold, ("full", 1, 1, "full", 1)))
        reads = []
        for call in range(5):
            with torch.no_grad(), Reads() as counting:
                model(sample + call, step)
            reads.append(counting.count)
        handle.remove()
        # A call whose turn it is to be full asks for nothing.
        assert reads == ([0, 1, 0, 0, 1] if max_hold else [0, 1, 1, 0, 1])

    @pytest.mark.parametrize("cut", [0, 1, 3, 4])
    def test_macs_are_those_of_one_full_call_or_of_one_partial_call(self, cut: int) -> None:
        model = tiny.unet2d_condition().to("meta")
        family, macs = family_of(model), count_macs(model)
        inputs = family.example_inputs(model, device="meta")
        midway, full = family.midway(model, [cut]), Crossing()
        with torch.no_grad():
            midway(full, **inputs)
            for answer, expected in ((True, macs.partial[cut]), (False, macs.full)):
                with FlopCounterMode(display=False) as counter:
                    midway(Crossing(cut, full.features[cut], partial(said, answer=answer)), **inputs)
                assert counter.get_total_flops() == 2 * expected

    def test_the_run_counts_what_it_did(self) -> None:
        pipe = tiny.ddim_pipeline()
        cost = Cost(counter="exact", full_macs=1000, partial_macs={0: 10, 1: 100, 3: 300})
        with cached(pipe, Schedule(calls=CALLS, cost=cost).adaptive(1e9, 1)) as run:
            generate(pipe, steps=STEPS)
        assert run.stats.went_on == (2, 5)
        assert run.stats.macs == 4 * 1000 + 100 + 10 + 100

    @pytest.mark.parametrize(("shape", "known"), [((3, 16, 16), True), ((3, 32, 32), False)])
    def test_macs_are_known_for_the_sample_that_they_were_counted_on(self, shape: tuple[int, ...], known: bool) -> None:
        pipe = tiny.ddim_pipeline()
        cost = Cost(counter="exact", full_macs=1000, partial_macs={1: 100}, sample_shape=shape)
        with cached(pipe, Schedule(calls=("full", 1, 1), cost=cost)) as run:
            generate(pipe, steps=3)
        assert run.stats.macs == (1200 if known else None)

    def test_two_tensors_are_held_per_cut_in_use_and_freed(self) -> None:
        pipe, calls = tiny.ddim_pipeline(), ("full", 1, 1, "full", 0, 0, 0)
        features: list[int] = []
        for plan in (Schedule(calls=calls), adaptive(1e9, calls=calls)):
            with cached(pipe, plan) as run:
                generate(pipe, steps=STEPS)
                features.append(run.stats.bytes_held)
        skip = 2 * 16 * 16 * 16 * 4  # batch, channels, height, width, bytes
        assert features[1] == features[0] + skip


class TestConditions:
    """As with the other modes."""

    def test_a_change_of_batch_forces_a_full_call_and_asks_nothing(self) -> None:
        model = tiny.unet2d()
        handle = apply(model, adaptive(1e9, calls=("full", 1, 1, 1)))
        for batch in (2, 2, 1, 1):
            model(torch.randn(batch, 3, 16, 16), 500)
        assert [call for call, _ in handle.stats.forced] == [2]
        assert handle.stats.went_on == ()
        handle.remove()

    def test_threads_decide_for_themselves(self) -> None:
        pipe, plan = tiny.ddim_pipeline(), adaptive(0.6)
        seeds = (0, 5)
        with cached(pipe, plan):
            alone = [generate(pipe, seed, STEPS) for seed in seeds]
        pipes = [pipe, copy.copy(pipe)]
        found: dict[int, torch.Tensor] = {}

        def work(index: int) -> None:
            pipes[index].scheduler = copy.deepcopy(pipe.scheduler)
            found[index] = generate(pipes[index], seeds[index], STEPS)

        handles = [apply(each, plan) for each in pipes]
        threads = [threading.Thread(target=partial(work, index)) for index in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for handle in handles:
            handle.remove()
        assert all(torch.equal(found[index], alone[index]) for index in range(2))

    def test_freeu_set_within_a_run(self) -> None:
        pipe, plan = tiny.sd_pipeline(), adaptive(0.3)

        def switch(pipe: Any, step: int, *_: Any) -> dict[str, Any]:
            if step == 1:
                pipe.enable_freeu(s1=0.9, s2=0.2, b1=1.5, b2=1.6)
            return {}

        with cached(pipe, plan) as run:
            images = generate(pipe, steps=STEPS, callback_on_step_end=switch)
        pipe.disable_freeu()
        assert run.stats.forced == ((2, "the model was changed"),)
        followed(pipe, plan, images, run.stats.went_on, callback_on_step_end=switch)

    def test_a_compiled_model_is_refused_by_name(self) -> None:
        model = torch.compile(tiny.unet2d(), fullgraph=True)
        with pytest.raises(UnsupportedModelError, match=r"UNet2DModel is compiled, and reuse mode .adaptive. decides"):
            apply(model, adaptive(0.1))

    def test_a_split_that_is_not_understood_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from deepcadence.schedules.families.unet_midway import Forked

        right = Forked.forward

        def wrong(self: Any, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            hidden_states, skips = right(self, hidden_states, *args, **kwargs)
            return hidden_states if self.road.back_at is not None else hidden_states + 1, skips

        monkeypatch.setattr(Forked, "forward", wrong)
        with pytest.raises(UnsupportedModelError, match="self-test failed: a full call"):
            apply(tiny.unet2d(), adaptive(0.1))


class TestTheFile:
    """Making such a schedule of another."""

    def test_what_no_longer_holds_is_dropped(self) -> None:
        cost = Cost(counter="exact", full_macs=4, partial_macs={1: 2}, mean_macs=3, speedup=4 / 3)
        held = Schedule(calls=("full", 1), cost=cost, generator=uniform(2, 2, 1).generator)
        plan = held.adaptive(0.5)
        assert plan.cost == Cost(counter="exact", full_macs=4, partial_macs={1: 2})
        assert plan.generator == held.generator
        assert plan.mean_macs(4, {1: 2}) == 3
        assert plan.resample(5).reuse == plan.reuse
        assert Schedule.loads(plan.dumps()) == plan
