from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler

from deepcadence.probe import Workload, count_macs
from deepcadence.schedules import Schedule, cached
from deepcadence.search import (
    Estimate,
    Evaluator,
    HeldOut,
    SearchError,
    StudyResult,
    export_front,
    finalize,
    held_out_seeds,
    run_study,
    select,
)
from deepcadence.search.baselines import fewer
from deepcadence.search.contenders import best_uniform, most_steps
from deepcadence.search.heldout import _row
from deepcadence.search.verdict import words
from tests import tiny


@pytest.fixture(scope="module")
def held_out(workload: Workload, result: StudyResult) -> HeldOut:
    return finalize(workload, result, select(result, target_speedup=1.5), seeds=range(100, 106))


def test_rivals_cost_no_more_and_are_the_strongest(held_out: HeldOut, workload: Workload, result: StudyResult) -> None:
    chosen, uniform, fewer = held_out.chosen, held_out.uniform, held_out.fewer_steps
    assert uniform is not None
    assert fewer is not None
    assert uniform.mean_macs <= chosen.mean_macs
    assert fewer.mean_macs <= chosen.mean_macs
    assert (fewer.steps + 1) / 6 * result.full_macs > chosen.mean_macs
    evaluator = Evaluator(workload)
    fitting = [t for t in result.trials if t.origin == "uniform" and t.mean_macs <= chosen.mean_macs]
    assert uniform.calls is not None
    found = evaluator.measure(Schedule.model_validate({"calls": list(uniform.calls)})).psnr.mean()
    assert all(float(found) >= trial.psnr - 1e-3 for trial in fitting)


def test_the_schedule_tells_where_it_came_from(held_out: HeldOut, workload: Workload, tmp_path: Path) -> None:
    path = tmp_path / "schedule.json"
    held_out.schedule.save(path)
    schedule = Schedule.load(path)
    assert schedule == held_out.schedule
    macs = count_macs(workload.pipeline.unet)
    assert schedule.cost is not None
    assert schedule.cost.counter == "exact"
    assert schedule.cost.mean_macs == macs.mean(schedule)
    assert schedule.sampler is not None
    assert schedule.sampler.timesteps == tuple(workload.trace().timesteps or ())
    assert schedule.quality is not None
    assert [(q.metric, q.seeds, q.samples, q.reference) for q in schedule.quality] == [
        ("psnr", "held-out", 6, "full"),
        ("ssim", "held-out", 6, "full"),
    ]
    assert schedule.quality[0].value == held_out.chosen.psnr.mean
    with cached(workload.pipeline, path):
        workload.run((0,))


def test_figures_are_of_the_held_out_seeds(held_out: HeldOut, workload: Workload) -> None:
    measured = Evaluator(workload.replace(seeds=range(100, 106))).measure(held_out.schedule)
    assert held_out.chosen.psnr.mean == pytest.approx(float(measured.psnr.mean()), abs=1e-4)
    assert held_out.seeds == tuple(range(100, 106))
    assert held_out.chosen.psnr_difference is None
    assert held_out.fewer_steps is not None
    assert held_out.fewer_steps.psnr_difference is not None
    assert held_out.fewer_steps.psnr_difference.mean == pytest.approx(
        held_out.chosen.psnr.mean - held_out.fewer_steps.psnr.mean, abs=1e-6
    )


def test_saved_and_loaded(held_out: HeldOut, tmp_path: Path) -> None:
    held_out.save(tmp_path / "held-out.json")
    assert HeldOut.load(tmp_path / "held-out.json") == held_out
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(SearchError, match=r"bad\.json: not a held-out measurement"):
        HeldOut.load(tmp_path / "bad.json")
    for text in (
        b"{",
        b"\xff",
        200_000 * b"[",
        b'{"seeds": 1, "seeds": 2}',
        b"{" + b",".join(b'"%d":0' % i for i in range(20_001)) + b"}",
    ):
        (tmp_path / "bad.json").write_bytes(text)
        with pytest.raises(SearchError, match=r"bad\.json: not a held-out measurement: "):
            HeldOut.load(tmp_path / "bad.json")


def test_search_seeds_are_refused(workload: Workload, result: StudyResult) -> None:
    chosen = select(result, target_speedup=1.0)
    with pytest.raises(SearchError, match=r"1 of the held-out seeds were search seeds \(such as 2\)"):
        finalize(workload, result, chosen, seeds=(2, 3, 4))
    with pytest.raises(SearchError, match="two or more"):
        finalize(workload, result, chosen, seeds=(7,))
    with pytest.raises(SearchError, match="search seeds"):
        export_front(workload, result, "nowhere", seeds=(0, 9))
    assert held_out_seeds(result, 3) == (3, 4, 5)


def test_seeds_that_give_the_same_noise_are_the_same_seed(workload: Workload, result: StudyResult) -> None:
    again = workload.replace(seeds=(2**32 + 1,)).run()
    assert torch.equal(again, workload.replace(seeds=(1,)).run())  # torch takes the lower 32 bits
    with pytest.raises(SearchError, match=r"1 of the held-out seeds were search seeds \(such as 4294967297\)"):
        finalize(workload, result, select(result, target_speedup=1.5), seeds=(7, 2**32 + 1))
    far = result.model_copy(update={"seeds": (0, 5, 2**32 + 2)})
    assert held_out_seeds(far, 3) == (2**32 + 3, 2**32 + 4, 2**32 + 6)
    assert held_out_seeds(result.model_copy(update={"seeds": (0, 2**32 - 1)}), 2) == (2**32 + 1, 2**32 + 2)


def test_another_workload_is_refused(workload: Workload, result: StudyResult) -> None:
    chosen = select(result, target_speedup=1.0)
    with pytest.raises(SearchError, match="number of steps: found 5, expected 6"):
        finalize(workload.replace(steps=5), result, chosen)
    with pytest.raises(SearchError, match="weights, prompts or call arguments"):
        finalize(workload.replace(pipeline=tiny.ddim_pipeline(seed=3)), result, chosen)


def test_uniform_rivals_that_the_study_lacks_are_run(workload: Workload, result: StudyResult) -> None:
    poor = result.model_copy(update={"trials": tuple(t for t in result.trials if t.origin != "uniform")})
    chosen = select(poor, target_speedup=1.0)
    phases: list[str] = []
    full = finalize(workload, poor, chosen, seeds=(8, 9), progress=lambda phase, *_: phases.append(phase))
    assert full.uniform is not None
    assert "uniform baselines" in phases
    assert "held-out: reference" in phases
    without = finalize(workload, poor, chosen, seeds=(8, 9), measure_missing=False)
    assert without.uniform is None
    assert "No uniform schedule" in without.verdict


def test_most_steps_that_fit(workload: Workload) -> None:
    evaluator = Evaluator(workload)
    full = evaluator.macs.full
    assert most_steps(evaluator, full) == 5
    assert most_steps(evaluator, full * 3 / 6) == 3
    assert most_steps(evaluator, full * 2.99 / 6) == 2
    assert most_steps(evaluator, full * 0.5 / 6) is None


def estimate(mean: float, low: float, high: float) -> Estimate:
    return Estimate(mean=mean, ci95=(low, high), samples=9)


@pytest.mark.parametrize(
    ("fewer", "said"),
    [
        (estimate(2, 1, 3), "Caching is worth it: within the same MACs, 7 steps are 2.00 dB"),
        (estimate(-2, -3, -1), "7 steps without a schedule are 2.00 dB (95% interval 1.00 to 3.00) better. Use fewer"),
        (estimate(0.1, -1, 1), "cannot be told apart at equal MACs: the difference is +0.10 dB"),
    ],
)
def test_the_verdict_is_honest_about_fewer_steps(fewer: Estimate, said: str) -> None:
    assert said in words("x", uniform={}, fewer=(7, fewer), chosen_is=None)


def test_the_verdict_is_honest_about_uniform() -> None:
    def say(difference: Estimate) -> str:
        return words("x", uniform={"held": ("u", difference)}, fewer=None, chosen_is=None)

    assert "with features held (u) is 1.00 dB (95% interval 0.50 to 2.00) worse" in say(estimate(1, 0.5, 2))
    assert "better: use that" in say(estimate(-1, -2, -0.5))
    assert "cannot be told apart" in say(estimate(0, -1, 1))
    both: dict[str, tuple[str, Estimate | None]] = {"held": ("u", estimate(4, 3, 5)), "extrapolated": ("v", None)}
    said = words("x", uniform=both, fewer=None, chosen_is="extrapolated")
    assert "with features held (u) is 4.00 dB" in said
    assert "itself the best uniform one with features extrapolated" in said
    assert "No uniform schedule is as cheap" in words("x", uniform={}, fewer=None, chosen_is=None)


def test_the_front_is_exported_whole(workload: Workload, result: StudyResult, tmp_path: Path) -> None:
    front = result.front()
    paths = export_front(workload, result, tmp_path / "front")
    assert [Schedule.load(path).calls for path in paths] == [trial.schedule().calls for trial in front]
    assert all(Schedule.load(path).quality is None for path in paths)
    assert [path.name[:2] for path in paths] == [f"{i:02d}" for i in range(1, len(front) + 1)]
    first = result.model_copy(update={"trials": (front[0],)})
    measured = Schedule.load(export_front(workload, first, tmp_path / "measured", seeds=(7, 8))[0])
    assert measured.quality is not None
    assert measured.quality[0].samples == 2
    with pytest.raises(SearchError, match="no finished schedule"):
        export_front(workload, result.model_copy(update={"trials": ()}), tmp_path)


def test_a_target_gives_rivals_the_whole_budget(workload: Workload, result: StudyResult) -> None:
    chosen = select(result, target_speedup=2.0)
    tight = finalize(workload, result, chosen, seeds=(8, 9), measure_missing=False)
    loose = finalize(workload, result, chosen, seeds=(8, 9), target_speedup=1.2, measure_missing=False)
    assert tight.fewer_steps is None or tight.fewer_steps.mean_macs <= tight.chosen.mean_macs
    assert loose.fewer_steps is not None
    assert loose.chosen.mean_macs < loose.fewer_steps.mean_macs <= loose.full_macs / 1.2
    assert loose.uniform is not None
    assert loose.uniform.mean_macs <= loose.full_macs / 1.2


@pytest.mark.parametrize(
    "other", [{"alpha": 0.75}, {"spacing": "trailing"}, {"steps": 5}, {"threshold": 0.1}, {"max_hold": 2}]
)
def test_a_rival_is_the_choice_only_if_it_runs_the_same(held_out: HeldOut, other: dict[str, object]) -> None:
    better = {"order": 1, "alpha": 1.0, "label": "u", "psnr_difference": estimate(-3, -4, -2)}
    rival = held_out.chosen.model_copy(update=better)
    same = held_out.model_copy(update={"chosen": rival.model_copy(update={"label": "mine"}), "uniform": rival})
    assert "itself the best uniform one with features held" in same.verdict
    differs = same.model_copy(update={"chosen": rival.model_copy(update=other)})
    assert "with features held (u) is 3.00 dB (95% interval 2.00 to 4.00) better: use that" in differs.verdict


def overflow(monkeypatch: pytest.MonkeyPatch, when: Callable[[Schedule | None, int | None], bool]) -> None:
    """Let no image be finite of the runs with such a schedule (None: uncached) and number of steps."""
    run = Evaluator._run

    def overflowing(self: Any, phase: Any, schedule: Any = None, steps: Any = None, *more: Any) -> Any:
        made = run(self, phase, schedule, steps, *more)
        if when(schedule, steps):
            made.batches[:] = [batch * float("nan") for batch in made.batches]
        return made

    monkeypatch.setattr(Evaluator, "_run", overflowing)


def test_a_uniform_schedule_that_overflows_does_not_compete(
    workload: Workload, result: StudyResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    poor = result.model_copy(update={"trials": tuple(t for t in result.trials if t.origin != "uniform")})
    macs = count_macs(workload.pipeline.unet)
    best = best_uniform(workload, poor, macs, macs.full / 1.2)
    assert best is not None
    calls = best.schedule().calls
    overflow(monkeypatch, lambda schedule, _: schedule is not None and schedule.calls == calls)
    second = best_uniform(workload, poor, macs, macs.full / 1.2)
    assert second is not None
    assert second.calls != best.calls
    overflow(monkeypatch, lambda schedule, _: schedule is not None)
    assert best_uniform(workload, poor, macs, macs.full / 1.2) is None
    overflow(monkeypatch, lambda *_: True)
    with pytest.raises(SearchError, match="not finite"):  # the uncached run, without which nothing can be said
        best_uniform(workload, poor, macs, macs.full / 1.2)


def test_a_rival_that_overflows_on_held_out_seeds_is_left_out(
    workload: Workload, result: StudyResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = select(result, target_speedup=1.5)
    calls = chosen.schedule().calls
    overflow(monkeypatch, lambda schedule, steps: steps is not None and (schedule is None or schedule.calls != calls))
    found = finalize(workload, result, chosen, seeds=(8, 9), target_speedup=1.2, measure_missing=False)
    assert (found.uniform, found.uniform_extrapolated, found.fewer_steps) == (None, None, None)
    assert found.verdict == (
        f"No smaller number of steps is as cheap as {chosen.label}, or none that gives finite images. "
        "No uniform schedule is as cheap, or none that gives finite images."
    )
    overflow(monkeypatch, lambda schedule, _: schedule is not None and schedule.calls == calls)
    with pytest.raises(SearchError, match="not finite"):
        finalize(workload, result, chosen, seeds=(8, 9), measure_missing=False)


def test_most_steps_are_such_that_the_pipeline_runs() -> None:
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    call = {"image": image, "strength": 0.3}
    pipe = tiny.sd_img2img_pipeline()
    evaluator = Evaluator(Workload(pipe, steps=20, seeds=(0,), prompts=("a",), call_kwargs=call))
    full = evaluator.macs.full
    assert (evaluator.num_calls, evaluator.calls_of(4), evaluator.runs(3)) == (6, 1, False)
    assert most_steps(evaluator, full / 6) == 6  # one call, as with 4 and 5 steps
    assert most_steps(evaluator, full / 7) is None


def test_calls_of_fewer_steps_are_those_of_their_spacing() -> None:
    pipe = tiny.ddim_pipeline()
    pipe.scheduler = DDIMScheduler(num_train_timesteps=30)
    workload = Workload(pipe, steps=14, seeds=(0, 1))
    evaluator = Evaluator(workload)
    assert [evaluator.calls_of(13, spacing) for spacing in (None, "trailing")] == [13, 14]  # as diffusers rounds
    assert [most_steps(evaluator, evaluator.macs.full * 13 / 14, spacing) for spacing in (None, "trailing")] == [13, 12]
    one = {"trials": 1, "cuts": (0,), "max_uniform": 1, "max_published": 0, "fewer_steps": (), "max_predicted": 0}
    result = run_study(workload, spacings=("trailing",), **one)  # type: ignore[arg-type]
    chosen = next(trial for trial in result.trials if trial.spacing == "trailing")
    found = finalize(workload, result, chosen, seeds=(2, 3), target_speedup=14 / 13, measure_missing=False)
    assert found.fewer_steps is not None
    assert (found.fewer_steps.steps, found.fewer_steps.full_calls) == (12, 12)
    uneven = fewer(13, "trailing")
    assert _row(evaluator, uneven, evaluator.measure_candidate(uneven), 1.0).full_calls == 14
