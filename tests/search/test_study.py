from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from diffusers import DDIMScheduler

from deepcadence.probe import Setup, Workload, count_macs, probe
from deepcadence.search import SearchError, StudyResult, TrialRecord, run_study
from deepcadence.search.storage import open_storage
from tests import tiny

SMALL: dict[str, Any] = {"max_uniform": 2, "max_published": 1, "fewer_steps": (3,), "cuts": (0, 1), "max_predicted": 0}


def origins(result: StudyResult) -> dict[str, int]:
    names = [trial.origin for trial in result.trials]
    return {name: names.count(name) for name in sorted(set(names))}


def test_a_study_holds_the_baselines_and_the_search(result: StudyResult, workload: Workload) -> None:
    assert origins(result) == {"fewer_steps": 2, "nonuniform": 8, "published": 1, "uniform": 8}
    assert (result.num_calls, result.steps, result.seeds, result.metric) == (6, 6, (0, 1, 2), "psnr")
    macs = count_macs(workload.pipeline.unet)
    assert result.full_macs == macs.full
    for trial in result.trials:
        assert len(trial.psnr_samples) == len(trial.ssim_samples) == 3
        assert trial.psnr == pytest.approx(sum(trial.psnr_samples) / 3, abs=1e-4)
        assert trial.speedup == pytest.approx(macs.full / trial.mean_macs)
        if trial.calls is not None:
            assert trial.mean_macs == pytest.approx(macs.mean(trial.schedule()))


def test_the_front_is_not_dominated_and_holds_schedules_only(result: StudyResult) -> None:
    front = result.front()
    assert front
    for point in front:
        assert point.calls is not None
        for other in result.trials:
            if other.calls is not None:
                assert not (other.psnr > point.psnr and other.mean_macs <= point.mean_macs)
    assert [p.mean_macs for p in front] == sorted(p.mean_macs for p in front)
    assert {p.origin for p in result.front(origins=("fewer_steps",))} == {"fewer_steps"}


def test_equal_call_lists_are_run_once(workload: Workload) -> None:
    only: dict[str, Any] = {"cuts": (0,), "intervals": (3, 3), "orders": (0,)}  # few calls, so few schedules
    result = run_study(workload, trials=8, max_predicted=0, fewer_steps=(3,), **only)
    first: dict[tuple[object, ...], TrialRecord] = {}
    for trial in result.trials:
        key = (trial.calls, trial.order, trial.steps)
        if key in first:
            assert trial.reused_from == first[key].number
            assert (trial.psnr, trial.mean_macs) == (first[key].psnr, first[key].mean_macs)
        else:
            assert trial.reused_from is None
            first[key] = trial
    assert result.evaluations == len(first) < len(result.trials)
    computed = sum(trial.mean_macs - trial.macs_replayed for trial in first.values())
    assert result.search_cost == pytest.approx(1 + computed / result.full_macs)


def test_a_second_run_reuses_and_more_trials_continue(workload: Workload, storage: Path) -> None:
    first = run_study(workload, storage=storage, trials=2, **SMALL)
    told: list[TrialRecord] = []
    phases: list[tuple[str, int, int]] = []
    again = run_study(
        workload, storage=storage, trials=2, on_trial=told.append, progress=lambda *e: phases.append(e), **SMALL
    )
    assert again == first
    assert told == []
    assert phases == [("baselines", 6, 6), ("search", 2, 2)]
    more = run_study(workload, storage=storage, trials=5, on_trial=told.append, command="search m", **SMALL)
    assert (first.setup.command, more.setup.command) == ("", "search m")
    assert more.setup.versions["torch"] == version("torch")
    assert more.trials[: len(first.trials)] == first.trials
    assert [trial.origin for trial in told] == ["nonuniform"] * 3
    assert origins(more)["nonuniform"] == 5
    assert StudyResult.from_storage(f"sqlite:///{storage}") == more


def test_a_study_of_before_setups_has_an_empty_one(workload: Workload, storage: Path) -> None:
    run_study(workload, storage=storage, trials=0, **SMALL)
    new = optuna.load_study(study_name="deepcadence", storage=f"sqlite:///{storage}")
    old = optuna.create_study(directions=["maximize", "minimize"])
    for name, value in new.user_attrs.items():
        if name != "setup":
            old.set_user_attr(name, value)
    assert StudyResult.from_study(new).setup.versions
    assert StudyResult.from_study(old).setup == Setup()


def test_resumed_studies_propose_what_whole_ones_do(workload: Workload, storage: Path) -> None:
    whole = run_study(workload, trials=4, seed=7, **SMALL)
    run_study(workload, storage=storage, trials=1, seed=7, **SMALL)
    parts = run_study(workload, storage=storage, trials=4, seed=7, **SMALL)
    assert [t.label for t in parts.trials] == [t.label for t in whole.trials]
    other = run_study(workload, trials=4, seed=8, **SMALL)
    assert [t.label for t in other.trials] != [t.label for t in whole.trials]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": (0, 1)}, r"other seeds: seeds is \[0, 1\], expected \[0, 1, 2\]"),
        ({"steps": 5}, "another number of steps: steps is 5, expected 6"),
        ({"call_kwargs": {"eta": 0.5}}, "other weights, another dtype, other prompts or other call arguments"),
    ],
)
def test_a_study_refuses_another_workload(
    workload: Workload, storage: Path, changes: dict[str, Any], message: str
) -> None:
    run_study(workload, storage=storage, trials=0, max_uniform=1, max_published=0, fewer_steps=(), max_predicted=0)
    with pytest.raises(SearchError, match=message):
        run_study(workload.replace(**changes), storage=storage, trials=0)


def test_a_study_refuses_other_weights_models_samplers_metrics_and_spaces(workload: Workload, storage: Path) -> None:
    run_study(workload, storage=storage, trials=0, max_uniform=1, max_published=0, fewer_steps=(), max_predicted=0)

    def refused(pipeline: Any, message: str, **arguments: Any) -> None:
        with pytest.raises(SearchError, match=message):
            run_study(workload.replace(pipeline=pipeline), storage=storage, trials=0, **arguments)

    refused(tiny.ddim_pipeline(seed=5), "other weights")
    refused(tiny.ddim_pipeline(block_out_channels=(16, 48)), "another model")
    changed = tiny.ddim_pipeline()
    changed.scheduler = type(changed.scheduler).from_config(changed.scheduler.config, clip_sample=False)
    refused(changed, "another sampler")
    refused(workload.pipeline, "another metric", metric="ssim")
    refused(workload.pipeline, "another search space", intervals=(2, 4))


def test_a_study_of_someone_else_is_refused(workload: Workload, storage: Path) -> None:
    study = optuna.create_study(storage=f"sqlite:///{storage}", study_name="theirs")
    study.add_trial(optuna.create_trial(value=1.0))
    with pytest.raises(SearchError, match="not made by deepcadence"):
        run_study(workload, storage=storage, study_name="theirs")
    with pytest.raises(SearchError, match="not made by deepcadence"):
        StudyResult.from_storage(storage, "theirs")
    with pytest.raises(SearchError, match=r"holds no study 'mine'; it holds: 'theirs'"):
        StudyResult.from_storage(storage, "mine")
    with pytest.raises(SearchError, match="no such file"):
        StudyResult.from_storage(storage.with_name("none.db"), "mine")


class Flaky(Workload):
    """Gives images that are not finite in the runs listed, counted from 1 over the class; run 1 is the reference."""

    broken: tuple[int, ...] = ()
    runs = 0

    def run(self, seeds: Any = None, *, steps: int | None = None) -> torch.Tensor:
        Flaky.runs += 1
        images = super().run(seeds, steps=steps)
        return images * float("nan") if Flaky.runs in Flaky.broken else images


def flaky(workload: Workload, broken: tuple[int, ...]) -> Flaky:
    Flaky.broken, Flaky.runs = broken, 0
    return Flaky(workload.pipeline, steps=6, seeds=(0, 1), batch_size=2)


def test_trials_that_are_not_finite_fail_and_are_never_best(workload: Workload, storage: Path) -> None:
    result = run_study(flaky(workload, (3, 6)), storage=storage, trials=2, **SMALL)
    assert [(trial.number, "not finite" in trial.error) for trial in result.failed] == [(1, True), (4, True)]
    assert [trial.number for trial in result.trials] == [0, 2, 3, 5, 6, 7]
    assert all(trial.number not in (1, 4) for trial in result.front())
    assert run_study(flaky(workload, ()), storage=storage, trials=2, **SMALL) == result  # not tried again


def test_a_reference_that_is_not_finite_stops_the_study(workload: Workload) -> None:
    with pytest.raises(SearchError, match="not finite"):
        run_study(flaky(workload, (1,)), trials=2, **SMALL)


class Interrupted(Workload):
    """Ctrl-C in the fourth run."""

    runs = 0

    def run(self, seeds: Any = None, *, steps: int | None = None) -> torch.Tensor:
        Interrupted.runs += 1
        if Interrupted.runs == 4:
            raise KeyboardInterrupt
        return super().run(seeds, steps=steps)


def test_ctrl_c_leaves_a_study_that_goes_on(workload: Workload, storage: Path) -> None:
    Interrupted.runs = 0
    stopped = Interrupted(workload.pipeline, steps=6, seeds=(0, 1), batch_size=2)
    with pytest.raises(KeyboardInterrupt):
        run_study(stopped, storage=storage, trials=1, **SMALL)
    partial = StudyResult.from_storage(storage)
    assert len(partial.trials) == 2
    assert partial.failed == ()
    done = run_study(stopped, storage=storage, trials=1, **SMALL)
    assert done.trials[:2] == partial.trials
    assert origins(done) == {"fewer_steps": 1, "nonuniform": 1, "published": 1, "uniform": 4}
    assert done.failed == ()


class Broken(Workload):
    """An error that is none of ours, in the third run."""

    runs = 0

    def run(self, seeds: Any = None, *, steps: int | None = None) -> torch.Tensor:
        Broken.runs += 1
        if Broken.runs == 3:
            raise ValueError("a pipeline's own")
        return super().run(seeds, steps=steps)


def test_an_error_of_the_pipeline_ends_the_study_and_is_tried_again(workload: Workload, storage: Path) -> None:
    Broken.runs = 0
    broken = Broken(workload.pipeline, steps=6, seeds=(0, 1), batch_size=2)
    with pytest.raises(ValueError, match="a pipeline's own"):
        run_study(broken, storage=storage, trials=1, **SMALL)
    assert len(StudyResult.from_storage(storage).trials) == 1
    done = run_study(broken, storage=storage, trials=1, **SMALL)
    assert origins(done) == {"fewer_steps": 1, "nonuniform": 1, "published": 1, "uniform": 4}


def test_optuna_is_left_as_it_was(workload: Workload, capfd: pytest.CaptureFixture[str]) -> None:
    before = optuna.logging.get_verbosity()
    run_study(workload, trials=1, max_uniform=1, max_published=0, fewer_steps=(), max_predicted=0)
    assert optuna.logging.get_verbosity() == before
    captured = capfd.readouterr()
    assert "Trial" not in captured.err + captured.out


def test_ssim_may_be_the_objective(workload: Workload) -> None:
    result = run_study(workload, trials=2, metric="ssim", **SMALL)
    assert result.metric == "ssim"
    values = [trial.ssim for trial in result.front()]
    assert values == sorted(values)


def test_cuts_are_checked_and_useless_ones_left_out(workload: Workload, result: StudyResult) -> None:
    with pytest.raises(SearchError, match=r"no cut 9; its cuts are 0, 1, 2, 3, 4, 5"):
        run_study(workload, trials=0, cuts=(0, 9))
    macs = count_macs(workload.pipeline.unet)
    assert result.cuts == tuple(cut for cut in macs.partial if macs.partial[cut] <= 0.9 * macs.full)


def test_storages_that_cannot_be_opened(workload: Workload, tmp_path: Path) -> None:
    with pytest.raises(SearchError, match=r"folder .* does not exist"):
        open_storage(tmp_path / "no" / "study.db")
    with pytest.raises(SearchError, match="no database URL"):
        open_storage("://")
    with pytest.raises(SearchError, match="no database URL") as caught:
        open_storage("://" + 9_000 * "x")
    assert len(str(caught.value)) < 300
    with pytest.raises(SearchError, match="cannot open the storage") as caught:
        open_storage("postgresql+psycopg://me:secret@127.0.0.1:1/none")
    assert "secret" not in str(caught.value)
    with pytest.raises(SearchError, match=r"psycopg\[binary\]"):
        open_storage("postgresql+pg8000://me@127.0.0.1:1/none")
    with pytest.raises(SearchError, match="trials is -1"):
        run_study(workload, trials=-1)


def test_the_search_tries_schedules_as_long_as_their_spacing_makes_a_run() -> None:
    pipe = tiny.ddim_pipeline()
    pipe.scheduler = DDIMScheduler(num_train_timesteps=30)
    workload = Workload(pipe, steps=13, seeds=(0,))  # spaced "trailing" diffusers makes 14
    result = run_study(workload, trials=3, spacings=("trailing",), **(SMALL | {"fewer_steps": ()}))
    assert [len(trial.calls or ()) for trial in result.trials if trial.origin == "nonuniform"] == [14] * 3
    assert result.failed == ()


def test_default_numbers_of_steps_that_do_not_run_are_left_out() -> None:
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    call = {"image": image, "strength": 0.3}
    workload = Workload(tiny.sd_img2img_pipeline(), steps=20, seeds=(0,), prompts=("a",), call_kwargs=call)
    result = run_study(workload, trials=0, **(SMALL | {"max_uniform": 1, "fewer_steps": None}))
    assert [trial.steps for trial in result.trials if trial.origin == "fewer_steps"] == [16, 13, 10, 8, 7, 5, 4]
    assert result.failed == ()


def test_a_number_of_steps_that_does_not_run_is_a_failed_trial() -> None:
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    call = {"image": image, "strength": 0.3}
    workload = Workload(tiny.sd_img2img_pipeline(), steps=20, seeds=(0,), prompts=("a",), call_kwargs=call)
    result = run_study(workload, trials=0, **(SMALL | {"max_uniform": 1, "fewer_steps": (10, 3)}))
    assert [trial.steps for trial in result.trials if trial.origin == "fewer_steps"] == [10]
    assert [trial.label for trial in result.failed] == ["3 steps"]
    assert "does not run with 3 steps; expected" in result.failed[0].error


def test_costs_of_another_size_are_refused() -> None:
    none: dict[str, Any] = {"trials": 0, "max_uniform": 1, "max_published": 0, "fewer_steps": (), "max_predicted": 0}
    small = Workload(tiny.sd_pipeline(), steps=4, seeds=(0,), prompts=("a",))
    large = small.replace(call_kwargs={"height": 32, "width": 32})
    profile = probe(small, cuts=[0], max_distance=1)
    with pytest.raises(SearchError, match=r"MACs of profile .* 4 x 8 x 8; expected 4 x 16 x 16.*: probe this very"):
        run_study(large, profile=profile, **none)
    with pytest.raises(SearchError, match=r"MACs of macs .* 4 x 8 x 8; .* with count_macs\(\.\.\., size=\(16, 16\)\)"):
        run_study(large, macs=profile.meta.macs, cuts=(0,), **none)
    counted = count_macs(large.pipeline, size=(16, 16))
    assert run_study(large, macs=counted, profile=profile, **none).sample_shape == (4, 16, 16)
    assert run_study(small, profile=profile, **none).cuts == (0,)
    unknown = replace(profile.meta.macs, sample_shape=())
    assert run_study(small, macs=unknown, cuts=(0,), **none).sample_shape == ()


_SIZE: dict[str, Any] = {"height": 16, "width": 16}
_OTHERS: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "dit": (tiny.dit_pipeline, {"class_labels": [1]}),
    "flux": (tiny.flux_pipeline, {**_SIZE, **tiny.text(*tiny.POOLED, batch=1)}),
    "animatediff": (tiny.animatediff_pipeline, {**_SIZE, "num_frames": 3}),
    "video": (tiny.text_to_video_pipeline, {**_SIZE, "num_frames": 3}),
}


@pytest.mark.parametrize("name", _OTHERS)
def test_a_profile_of_the_workload_has_its_size(name: str) -> None:
    make, call = _OTHERS[name]
    pipeline = make()
    prompts = ("a cat",) if name in ("animatediff", "video") else ()
    workload = Workload(pipeline, steps=4, seeds=(0,), prompts=prompts, call_kwargs=call)
    profile = probe(workload, cuts=[0], max_distance=1)
    few: dict[str, Any] = {"trials": 0, "max_uniform": 1, "max_published": 0, "fewer_steps": (), "max_predicted": 0}
    assert run_study(workload, profile=profile, **few).sample_shape == profile.meta.macs.sample_shape


def test_a_run_that_diverged_fails_by_name_and_the_study_is_read_again(workload: Workload, storage: Path) -> None:
    class Diverged(Workload):
        runs = 0

        def run(self, seeds: Any = None, *, steps: int | None = None) -> torch.Tensor:
            Diverged.runs += 1
            return super().run(seeds, steps=steps) * (1e20 if Diverged.runs == 3 else 1)

    diverged = Diverged(workload.pipeline, steps=6, seeds=(0, 1), batch_size=2)
    result = run_study(diverged, storage=storage, trials=1, **SMALL)
    assert [(trial.number, "PSNR is not finite" in trial.error) for trial in result.failed] == [(1, True)]
    assert run_study(diverged, storage=storage, trials=1, **SMALL) == result


@pytest.mark.parametrize("at", [3, 8, 9], ids=["in-a-baseline", "in-the-search", "in-its-second-trial"])
def test_stopped_studies_propose_what_whole_ones_do(workload: Workload, storage: Path, at: int) -> None:
    class Stopped(Workload):
        runs = 0

        def run(self, seeds: Any = None, *, steps: int | None = None) -> torch.Tensor:
            Stopped.runs += 1
            if Stopped.runs == at:
                raise KeyboardInterrupt
            return super().run(seeds, steps=steps)

    whole = run_study(workload.replace(seeds=(0, 1)), trials=4, seed=7, **SMALL)
    stopped = Stopped(workload.pipeline, steps=6, seeds=(0, 1), batch_size=2)
    with pytest.raises(KeyboardInterrupt):
        run_study(stopped, storage=storage, trials=4, seed=7, **SMALL)
    parts = run_study(stopped, storage=storage, trials=4, seed=7, **SMALL)

    def searched(result: StudyResult) -> list[tuple[str, float]]:
        return [(trial.label, trial.psnr) for trial in result.trials if trial.origin == "nonuniform"]

    assert searched(parts) == searched(whole)
    assert (parts.died, parts.repeatable_words is None) == ((1, False) if at == 3 else (0, True))
