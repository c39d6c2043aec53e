"""The steps of the demo, each of which reuses what an earlier run left."""

from __future__ import annotations

from pathlib import Path

from deepcadence.cli.console import note
from deepcadence.cli.demo_budget import Budget
from deepcadence.cli.held_out import held_out_path
from deepcadence.cli.images import check_finite, write_image
from deepcadence.cli.options import Dtype
from deepcadence.cli.outputs import Kind, check_folder, check_output
from deepcadence.cli.progress import Report
from deepcadence.cli.workload import load_workload
from deepcadence.probe import Profile, ProfileError, Workload, probe
from deepcadence.probe.pictures import grid
from deepcadence.reports import image_pairs_info, write_report
from deepcadence.schedules import cached, denoiser, family_of, model_info
from deepcadence.search import (
    HeldOut,
    SearchError,
    StudyResult,
    TrialRecord,
    cuts_within_reach,
    finalize,
    held_out_seeds,
    run_study,
    select,
)


class Demo:
    """One run of the demo: what to run, where, and how much."""

    def __init__(self, model: str | Path, out: Path, budget: Budget, *, fresh: bool) -> None:
        self.out, self.budget = out, budget
        self.profile_path = out / "profile.safetensors"
        self.study_path = out / "study.db"
        self.schedule_path = out / "schedule.json"
        self.report_path = out / "report.html"
        self.sheets = {name: out / "images" / f"{name}.png" for name in ("without-schedule", "with-schedule")}
        self._check()
        if fresh:
            self._remove()
        self.workload = self._load(str(model))
        self.report: Report = lambda phase, done, total: None

    def run(self, report: Report) -> HeldOut:
        """All steps; returns the comparison on held-out seeds."""
        self.report = report
        profile = self._profile()
        result = self._study(profile)
        if result.predictor_words:
            note(f"predictor: {result.predictor_words}")
        chosen = select(result, target_speedup=self.budget.target_speedup)
        held_out, new = self._held_out(result, chosen)
        if new or not all(path.exists() for path in (self.report_path, *self.sheets.values())):
            self._show(profile, result, held_out)
        else:
            self._reused(self.report_path)
        return held_out

    def _load(self, model: str) -> Workload:
        """The model in float32 on the CPU, or on the GPU where there is one."""
        return load_workload(
            model,
            steps=self.budget.steps,
            seeds=tuple(range(self.budget.search_seeds)),
            prompts=(),
            batch_size=self.budget.batch_size,
            device=None,
            dtype=Dtype.float32,
        )

    def _profile(self) -> Profile:
        workload = self.workload.replace(seeds=tuple(range(self.budget.profile_seeds)))
        if self.profile_path.exists():
            try:
                profile = Profile.load(self.profile_path)
            except ProfileError as error:
                note(f"{error}; measuring it again")
            else:
                if self._is_ours(profile, workload):
                    self._reused(self.profile_path)
                    return profile
        profile = probe(workload, max_distance=self.budget.max_distance, progress=self.report)
        profile.save(self.profile_path)
        return profile

    def _is_ours(self, profile: Profile, workload: Workload) -> bool:
        model, meta = denoiser(workload.pipeline), profile.meta
        info = model_info(model, family_of(model).cuts(model))
        return (meta.model, meta.steps, meta.seeds) == (info, workload.steps, workload.seeds)

    def _study(self, profile: Profile) -> StudyResult:
        budget = self.budget
        try:
            return run_study(
                self.workload,
                profile=profile,
                storage=self.study_path,
                trials=budget.trials,
                cuts=cuts_within_reach(profile.meta.macs, budget.target_speedup),
                max_uniform=budget.uniform,
                max_published=budget.published,
                fewer_steps=budget.fewer_steps,
                max_predicted=budget.predicted,
                target_speedup=budget.target_speedup,
                progress=self.report,
            )
        except SearchError as error:
            raise SearchError(f"{self.study_path}: {error}. To start over, add --fresh") from error

    def _held_out(self, result: StudyResult, chosen: TrialRecord) -> tuple[HeldOut, bool]:
        """The comparison, and whether it is new."""
        path, seeds = held_out_path(self.schedule_path), held_out_seeds(result, self.budget.held_out)
        if path.exists() and self.schedule_path.exists():
            found = HeldOut.load(path)
            if (found.chosen.calls, found.chosen.order, found.seeds) == (chosen.calls, chosen.order, seeds):
                self._reused(path)
                return found, False
        held_out = finalize(
            self.workload,
            result,
            chosen,
            seeds=seeds,
            target_speedup=self.budget.target_speedup,
            progress=self.report,
        )
        held_out.schedule.save(self.schedule_path)
        held_out.save(path)
        return held_out, True

    def _show(self, profile: Profile, result: StudyResult, held_out: HeldOut) -> None:
        """Images with the schedule and without, and the report."""
        seeds, budget = held_out.seeds[: self.budget.images], self.budget
        self.report("images", 0, 2)
        full = check_finite(self.workload.run(seeds), seeds)
        self.report("images", 1, 2)
        with cached(self.workload.pipeline, self.schedule_path):
            fast = check_finite(self.workload.run(seeds), seeds)
        self.report("images", 2, 2)
        for path, images in zip(self.sheets.values(), (full, fast), strict=True):
            check_folder(path.parent)
            write_image(grid(images, budget.columns, budget.scale), path)
        write_report(
            self.report_path,
            profile=profile,
            study=result,
            held_out=held_out,
            schedule=held_out.schedule,
            images=image_pairs_info(full, fast, seeds),
            title="deepcadence demo: the bundled model",
            commands=["deepcadence demo"],
        )

    def _check(self) -> None:
        check_folder(self.out)
        check_output(self.profile_path, Kind.profile)
        check_output(self.schedule_path, Kind.schedule)
        check_output(held_out_path(self.schedule_path), Kind.schedule)
        check_output(self.report_path, Kind.report)

    def _remove(self) -> None:
        """What a demo wrote, and nothing else."""
        made = [self.profile_path, self.schedule_path, held_out_path(self.schedule_path), self.report_path]
        made += [self.study_path.with_name(self.study_path.name + tail) for tail in ("", "-journal", "-wal", "-shm")]
        for path in (*made, *self.sheets.values()):
            path.unlink(missing_ok=True)

    def _reused(self, path: Path) -> None:
        note(f"reusing {path}")
