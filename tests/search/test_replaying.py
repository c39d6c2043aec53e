from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, HeunDiscreteScheduler
from packaging.version import Version

from deepcadence.probe import Workload
from deepcadence.schedules import Schedule, denoiser, uniform
from deepcadence.search import Evaluator, Measurement, StudyResult, TrialRecord, run_study
from deepcadence.search.outputs import Outputs
from deepcadence.search.racing import in_laps
from deepcadence.search.replaying import may_replay
from tests import tiny

F = "full"
CALLS, SIDE = 6, 16
PLANS: dict[str, Any] = {
    "leading full calls": [F, F, F, 0, 0, 0],
    "parts at a full call": [F, F, F, 0, 0, F],
    "parts at a partial call": [F, F, F, 0, F, 0],
    "other cuts": [F, F, F, 1, 1, 0],
    "one full call": [F, 0, 0, 0, 0, 0],
}


def heun_pipeline() -> Any:
    pipe = tiny.sd_pipeline()
    pipe.scheduler = HeunDiscreteScheduler.from_config(pipe.scheduler.config)
    return pipe


FLUX = {"height": 16, "width": 16, "true_cfg_scale": 3.0}
NEGATIVE = ("negative_prompt_embeds", "negative_pooled_prompt_embeds")
PIPELINES: dict[str, Callable[[], Workload]] = {
    "DDIM": lambda: Workload(tiny.ddim_pipeline(), steps=6, seeds=(0, 1, 2), batch_size=2),
    "DDPM, noise at each step": lambda: Workload(tiny.ddpm_pipeline(), steps=6, seeds=(0, 1, 2), batch_size=2),
    "LDM, noise of torch's own generator": lambda: Workload(
        tiny.ldm_pipeline(), steps=6, seeds=(0, 1, 2), batch_size=2, call_kwargs={"eta": 0.5}
    ),
    "guidance in one batch": lambda: Workload(tiny.sd_pipeline(), steps=6, seeds=(0, 1), prompts=("a", "b")),
    "Heun": lambda: Workload(heun_pipeline(), steps=4, seeds=(0,), prompts=("a",)),
    "guidance in two calls": lambda: Workload(
        tiny.flux_pipeline(),
        steps=6,
        seeds=(0, 1),
        call_kwargs=FLUX | tiny.text(*tiny.POOLED) | tiny.text(*NEGATIVE, seed=1),
    ),
    "bfloat16": lambda: Workload(tiny.ddim_pipeline().to(torch.bfloat16), steps=6, seeds=(0, 1)),
}
if Version(version("diffusers")) < Version("0.41"):
    del PIPELINES["bfloat16"]  # DDIMPipeline gave no images of it


def schedules(num_calls: int = CALLS) -> Iterator[Schedule]:
    plans = [Schedule(calls=(calls * 2)[:num_calls]) for calls in PLANS.values()]
    yield from plans
    for order, alpha in ((1, 1.0), (2, 1.0), (1, 0.5)):
        yield plans[2].extrapolated(order, alpha)


@contextmanager
def evaluations(model: torch.nn.Module) -> Iterator[list[str]]:
    """The kind of each call that the denoiser computed inside; self-tests, on small inputs, are left out."""
    ran: list[str] = []

    def begins(_: Any, args: tuple[torch.Tensor], __: Any) -> None:
        ran.append("partial" if args[0].shape[-1] == SIDE else "small")

    def goes_inside(*_: Any) -> None:
        if ran[-1] != "small":
            ran[-1] = F

    hooks = [
        model.conv_in.register_forward_hook(begins),  # type: ignore[union-attr]
        model.mid_block.register_forward_hook(goes_inside),  # type: ignore[union-attr]
    ]
    try:
        yield ran
    finally:
        for hook in hooks:
            hook.remove()


def counted(evaluator: Evaluator, calls: Any, order: int = 0) -> tuple[int, int, Measurement]:
    """Full and partial calls that the denoiser computed to measure a schedule, and what was measured."""
    schedule = Schedule(calls=calls)
    with evaluations(evaluator.workload.pipeline.unet) as ran:
        measured = evaluator.measure(schedule.extrapolated(order) if order else schedule)
    return ran.count(F), ran.count("partial"), measured


@pytest.mark.parametrize("name", PIPELINES)
def test_images_are_the_same_to_the_bit(name: str) -> None:
    workload = PIPELINES[name]()
    plain = Evaluator(workload, keep_images=True)
    shared = Evaluator(workload, keep_images=True, share=True)
    assert torch.equal(plain.reference.images, shared.reference.images)
    replayed = 0.0
    for schedule in schedules(plain.num_calls):
        one, other = plain.measure(schedule), shared.measure(schedule)
        assert one.images is not None
        assert other.images is not None
        assert torch.equal(one.images, other.images), schedule
        assert (one.mean_macs, one.went_on) == (other.mean_macs, other.went_on)
        assert (one.calls_replayed, one.macs_replayed) == (0, 0)
        replayed += other.calls_replayed
    assert replayed > plain.num_calls  # of those of eight runs
    again = shared.measure(schedule)
    assert again.calls_replayed == plain.num_calls
    assert again.macs_replayed == pytest.approx(again.mean_macs)


def test_the_denoiser_is_evaluated_less(workload: Workload) -> None:
    """Two batches. What the reference and the runs before have computed is not computed again."""
    evaluator = Evaluator(workload, share=True)
    _, macs = evaluator.reference, evaluator.macs
    full, partly, first = counted(evaluator, [F, F, F, 0, 0, 0])
    assert (full, partly) == (2 * 1, 2 * 3)  # the last full call has the feature
    assert first.calls_replayed == 2
    assert first.macs_replayed == pytest.approx(2 * macs.full / CALLS)
    full, partly, second = counted(evaluator, [F, F, F, 0, 0, F])
    assert (full, partly) == (2 * 1, 0)  # no call needs a feature
    assert second.calls_replayed == 5
    assert second.macs_replayed == pytest.approx((3 * macs.full + 2 * macs.partial[0]) / CALLS)
    assert counted(evaluator, [F, F, F, 0, 0, F])[:2] == (0, 0)
    assert counted(evaluator, [F, F, F, 0, 0, 1])[:2] == (2 * 1, 2 * 1)
    assert counted(evaluator, [F, 0, F, 0, F, 0])[:2] == (2 * 3, 2 * 3)


@pytest.mark.parametrize(("order", "made"), [(0, 1), (1, 2), (2, 3)])
def test_as_many_full_calls_are_made_as_features_are_needed(workload: Workload, order: int, made: int) -> None:
    evaluator = Evaluator(workload, share=True)
    _ = evaluator.reference, evaluator.macs
    assert counted(evaluator, [F, F, F, F, 0, 0], order)[:2] == (2 * made, 2 * 2)
    assert counted(evaluator, [F, F, F, F, 0, F], order)[:2] == (2 * 1, 0)


def test_one_full_call_is_shared_whatever_the_reuse(workload: Workload) -> None:
    """With one full call behind it, a line is no other than the feature itself."""
    evaluator = Evaluator(workload, share=True)
    evaluator.measure(Schedule(calls=[F, 0, 0, F, 0, 0]))
    assert counted(evaluator, [F, 0, 0, F, 0, 0], 1)[:2] == (2 * 2, 2 * 2)


def test_schedules_with_fewer_steps_share_with_runs_of_as_many(workload: Workload) -> None:
    evaluator = Evaluator(workload, share=True)
    alone = evaluator.measure_fewer_steps(4)
    assert alone.calls_replayed < 2  # at most the first call is that of the reference
    assert evaluator.measure(Schedule(calls=[F, F, F, 0]), steps=4).calls_replayed == 2
    assert evaluator.measure(Schedule(calls=[F, F, F, 0]), steps=4, spacing="trailing").calls_replayed == 0


def test_other_batches_share_nothing() -> None:
    workload = Workload(tiny.ddim_pipeline(), steps=CALLS, seeds=tuple(range(16)), batch_size=8)
    evaluator = Evaluator(workload, share=True)
    _ = evaluator.reference
    laps = in_laps(evaluator)
    plan = Schedule(calls=[F, F, F, 0, 0, 0])
    assert laps.measure(plan).calls_replayed == 0
    assert laps.measure(plan).calls_replayed == CALLS
    assert evaluator.measure(plan).calls_replayed == 2


class Overwriting(DDIMScheduler):  # type: ignore[misc]
    """Steps in place, and leaves nothing of the denoiser's output."""

    def step(self, model_output: torch.Tensor, timestep: Any, sample: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        result = super().step(model_output, timestep, sample, *args, **kwargs)
        model_output.zero_()
        result.prev_sample = sample.copy_(result.prev_sample)
        return result


def test_a_sampler_may_overwrite_what_it_is_given() -> None:
    pipe = tiny.ddim_pipeline()
    pipe.scheduler = Overwriting.from_config(pipe.scheduler.config)
    workload = Workload(pipe, steps=CALLS, seeds=(0, 1))
    plain, shared = (Evaluator(workload, keep_images=True, share=share) for share in (False, True))
    for schedule in schedules():
        one, other = plain.measure(schedule).images, shared.measure(schedule).images
        assert one is not None
        assert other is not None
        assert torch.equal(one, other)


def test_a_changed_input_is_computed(workload: Workload) -> None:
    evaluator = Evaluator(workload, keep_images=True, share=True)
    plan = uniform(CALLS, 3, 0)
    evaluator.measure(plan)
    pipe = workload.pipeline
    own = pipe.scheduler
    pipe.scheduler = type(own).from_config(own.config, beta_end=0.03)
    try:
        measured = evaluator.measure(plan)
        expected = Evaluator(workload, keep_images=True).measure(plan)
    finally:
        pipe.scheduler = own
    assert measured.calls_replayed == 0 or measured.calls_replayed < 2  # the first call is the same, its step is not
    assert measured.images is not None
    assert expected.images is not None
    assert torch.equal(measured.images, expected.images)


def test_a_denoiser_that_draws_random_numbers_is_always_computed() -> None:
    pipe = tiny.ddim_pipeline()
    pipe.unet.train()  # else the self-test finds that it differs from itself
    pipe.unet.conv_in.register_forward_hook(lambda _, __, output: output + 0.1 * torch.randn_like(output))
    workload = Workload(pipe, steps=CALLS, seeds=(0, 1))
    evaluator = Evaluator(workload, keep_images=True, share=True)
    plan = Schedule(calls=[F, F, F, 0, 0, 0])
    measured = evaluator.measure(plan)
    assert measured.calls_replayed == 0
    expected = Evaluator(workload, keep_images=True).measure(plan).images
    assert expected is not None
    assert measured.images is not None
    assert torch.equal(measured.images, expected)


def test_where_the_input_decides_nothing_is_shared(workload: Workload) -> None:
    evaluator = Evaluator(workload, share=True)
    plan = uniform(CALLS, 3, 0).adaptive(0.1)
    assert [evaluator.measure(plan).calls_replayed for _ in range(2)] == [0, 0]


def test_compiled_denoisers_share_nothing() -> None:
    pipe = tiny.ddim_pipeline()
    assert may_replay(pipe, None)
    pipe.unet = torch.compile(pipe.unet)
    assert not may_replay(pipe, None)
    assert not may_replay(pipe, uniform(CALLS, 3, 0))


def test_a_run_that_was_interrupted_leaves_what_it_computed(workload: Workload) -> None:
    evaluator = Evaluator(workload, keep_images=True, share=True)
    _ = evaluator.reference
    unet, plan = workload.pipeline.unet, Schedule(calls=[F, 0, 0, F, 0, 0])
    before = dict(unet.__dict__)
    left = iter(range(3))

    def interrupt(_: Any, __: Any, output: torch.Tensor) -> None:
        if output.shape[-1] == SIDE and next(left, None) is None:
            raise KeyboardInterrupt

    hook = unet.conv_out.register_forward_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        evaluator.measure(plan)
    hook.remove()
    assert unet.__dict__ == before
    measured = evaluator.measure(plan)
    assert 0 < measured.calls_replayed < CALLS
    expected = Evaluator(workload, keep_images=True).measure(plan).images
    assert expected is not None
    assert measured.images is not None
    assert torch.equal(measured.images, expected)


def test_little_room_changes_no_image(workload: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepcadence.search.evaluate.Outputs", partial(Outputs, 8 * 2 * 3 * 16 * 16 * 4))
    shared, plain = Evaluator(workload, keep_images=True, share=True), Evaluator(workload, keep_images=True)
    total = 0.0
    for schedule in schedules():
        measured, expected = shared.measure(schedule), plain.measure(schedule).images
        assert measured.images is not None
        assert expected is not None
        assert torch.equal(measured.images, expected)
        total += measured.calls_replayed
        assert shared._outputs is not None
        assert 0 < shared._outputs.nbytes <= 8 * 2 * 3 * 16 * 16 * 4
    assert total > 0


def test_measurements_of_seconds_share_nothing(workload: Workload) -> None:
    evaluator = Evaluator(workload)
    with evaluations(denoiser(workload.pipeline)) as ran:
        for _ in range(2):
            assert evaluator.measure(Schedule(calls=[F] * CALLS)).calls_replayed == 0
    assert ran.count(F) == 3 * 2 * CALLS + 1  # and what tells how many calls a run makes


SMALL: dict[str, Any] = {"max_uniform": 4, "max_published": 0, "fewer_steps": (3,), "cuts": (0, 1), "max_predicted": 4}
FREE = {"seconds_per_sample": 0.0, "calls_replayed": 0.0, "macs_replayed": 0.0}


def test_a_study_finds_the_same_and_says_what_was_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    """With races, whose trials end after one of four batches, or later."""
    runners = Workload(tiny.ddim_pipeline(), steps=CALLS, seeds=tuple(range(16)), batch_size=8)
    shared = run_study(runners, trials=8, **SMALL)
    monkeypatch.setattr("deepcadence.search.evaluate.Outputs", partial(Outputs, 0))
    alone = run_study(runners, trials=8, **SMALL)
    assert shared.raced_out
    assert _plain(shared) == _plain(alone)
    run = [trial for trial in shared.trials if trial.reused_from is None]
    raced = [trial for trial in shared.raced_out if trial.reused_from is None]
    replayed = sum(t.calls_replayed for t in run) + sum(t.calls_replayed * t.samples / 16 for t in raced)
    calls = sum(CALLS if t.calls is not None else 3 for t in run) + sum(CALLS * t.samples / 16 for t in raced)
    assert 0 < replayed == pytest.approx(shared.calls_replayed)
    assert shared.calls_run == pytest.approx(calls)
    assert f"{replayed:.0f} of {calls:.0f} calls of the denoiser were not computed" in shared.savings_words
    macs = sum(t.macs_replayed for t in run) + sum(t.macs_replayed * t.samples / 16 for t in raced)
    assert alone.search_cost - shared.search_cost == pytest.approx(macs / shared.full_macs)
    assert alone.calls_replayed == 0


def _plain(result: StudyResult) -> list[Any]:
    """The trials without what sharing changes."""
    trials: list[Any] = [*result.trials, *result.raced_out]
    return [
        trial.model_copy(update=FREE if isinstance(trial, TrialRecord) else dict(list(FREE.items())[1:]))
        for trial in trials
    ]
