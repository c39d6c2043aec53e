from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image

from deepcadence.cli import report_inputs
from deepcadence.cli.limits import macs_number
from deepcadence.cli.workload import read_call
from deepcadence.probe import Profile, Workload
from deepcadence.schedules import Schedule, uniform
from deepcadence.search import HeldOut, StudyResult
from tests import tiny
from tests.cli.conftest import Invoke
from tests.search.test_select import study, trial

STEPS = 6


@pytest.fixture
def profile(invoke: Invoke, ddim_folder: Path, tmp_path: Path) -> Path:
    result = invoke("probe", ddim_folder, "--steps", STEPS, "--seeds", 2, "--device", "cpu", "-o", "p.safetensors")
    assert result.exit_code == 0, result.stderr
    return tmp_path / "p.safetensors"


def test_probe(invoke: Invoke, ddim_folder: Path, tmp_path: Path) -> None:
    options = ("--steps", STEPS, "--seeds", 2, "--cut", 0, "--branch", 2, "--max-distance", 2, "--device", "cpu")
    result = invoke("probe", ddim_folder, *options, "--memory-limit", "100MiB", "-o", "p.safetensors")
    assert result.exit_code == 0, result.stderr
    profile = Profile.load(tmp_path / "p.safetensors")
    assert (profile.cuts, profile.num_calls, profile.meta.seeds) == ((0, 2), STEPS, (0, 1))
    assert "memory: " in result.stderr
    assert "of 100 MiB" in result.stderr
    assert "next: deepcadence search" in result.stderr


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--steps", 0), "--steps"),
        (("--memory-limit", "lots"), "is no amount of memory"),
        (("--dtype", "int8"), "--dtype"),
    ],
)
def test_probe_used_wrongly(invoke: Invoke, ddim_folder: Path, options: tuple[object, ...], sentence: str) -> None:
    result = invoke("probe", ddim_folder, *options)
    assert result.exit_code == 2
    assert sentence in result.stderr


def test_probe_with_prompts(invoke: Invoke, sd_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("\ufeffa cat\n\n\ufeff  a dog \n")
    options = ("--steps", 4, "--seeds", 2, "--max-distance", 0, "--device", "cpu", "-o", "p.safetensors")
    assert "prompt" in invoke("probe", sd_folder, *options).stderr
    result = invoke("probe", sd_folder, *options, "--prompts", "prompts.txt")
    assert result.exit_code == 0, result.stderr
    assert Profile.load(tmp_path / "p.safetensors").meta.prompts == ("a cat", "a dog")


def test_prompts_that_are_none(invoke: Invoke, sd_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    for name, sentence in (("empty.txt", "found no prompt"), ("binary.txt", "not UTF-8"), ("none.txt", "No such")):
        result = invoke("probe", sd_folder, "--prompts", name)
        assert result.exit_code == 1
        assert sentence in result.stderr


def test_a_model_that_is_not_there(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for command in (("probe", "empty"), ("generate", "empty"), ("macs", "empty"), ("macs", "no such thing")):
        result = invoke(*command)
        assert result.exit_code == 1
        assert result.stderr.splitlines()[-1].startswith("error: ")
        assert "expected" in result.stderr


def test_a_device_that_is_not_there(invoke: Invoke, ddim_folder: Path) -> None:
    result = invoke("generate", ddim_folder, "--device", "abacus")
    assert result.exit_code == 1
    assert "error: device: found 'abacus'" in result.stderr


def test_an_image_that_is_not_finite_is_refused(
    invoke: Invoke, ddim_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Workload.run

    def broken(workload: Workload, seeds: Sequence[int]) -> torch.Tensor:
        images = run(workload, seeds).clone()
        for place, seed in enumerate(seeds):
            if seed == 3:
                images[place, 0, 0, 0] = float("nan")
        return images

    monkeypatch.setattr(Workload, "run", broken)
    seeds = [word for seed in (0, 1, 2, 3) for word in ("--seed", seed)]
    result = invoke("generate", ddim_folder, "--steps", 2, "--device", "cpu", "--batch-size", 2, *seeds, "-o", "out")
    assert result.exit_code == 1
    assert "error: seed 3: found an image with values that are not finite" in result.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["seed-0.png", "seed-1.png"]


def test_images_have_so_many_pixels_in_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        for seed in range(3):
            Image.new("RGB", (8, 8)).save(tmp_path / folder / f"seed-{seed}.png")
    monkeypatch.setattr(report_inputs, "_MAX_PIXELS_IN_ALL", 6 * 64)
    assert report_inputs.image_pairs(tmp_path / "a", tmp_path / "b").samples == 3
    monkeypatch.setattr(report_inputs, "_MAX_PIXELS_IN_ALL", 6 * 64 - 1)
    monkeypatch.setattr(report_inputs, "_read", None)  # nothing is decoded
    with pytest.raises(report_inputs.ImagesError, match=r"seed-2\.png: found more than 383 pixels in the 6 images"):
        report_inputs.image_pairs(tmp_path / "a", tmp_path / "b")


def test_search_then_report(invoke: Invoke, ddim_folder: Path, profile: Path, tmp_path: Path) -> None:
    few = ("--trials", 2, "--seeds", 2, "--held-out", 3, "--front", "front", "-o", "schedule.json")
    search = ("search", ddim_folder, "--profile", profile, "--target-speedup", 1.2, "--device", "cpu", *few)
    result = invoke(*search)
    assert result.exit_code == 0, result.stderr
    schedule = Schedule.load(tmp_path / "schedule.json")
    assert schedule.cost is not None
    assert schedule.cost.speedup is not None
    assert schedule.cost.speedup >= 1.2
    assert [quality.seeds for quality in schedule.quality or ()] == ["held-out", "held-out"]
    assert HeldOut.load(tmp_path / "schedule.held-out.json").schedule == schedule
    assert "3 held-out samples" in result.stdout
    assert "fewer steps" in result.stdout
    assert "given up before their last seed, which saved" in result.stderr
    assert f"next: deepcadence generate {ddim_folder} --schedule schedule.json -o out/" in result.stderr
    assert all(Schedule.load(path).quality for path in (tmp_path / "front").iterdir())
    trials = len(StudyResult.from_storage("sqlite:///study.db").trials)

    again = invoke(*search)
    assert again.exit_code == 0, again.stderr
    assert len(StudyResult.from_storage("sqlite:///study.db").trials) == trials

    report = ("--profile", profile, "--study", "sqlite:///study.db", "--schedule", "schedule.json", "-o", "r.html")
    assert invoke("report", *report).exit_code == 0
    page = (tmp_path / "r.html").read_text()
    assert "<svg" in page
    assert "held-out" in page
    assert "given up before their last seed, which saved" in page
    assert invoke("report", *report).exit_code == 0  # a report replaces a report


def test_search_wants_a_target(invoke: Invoke, ddim_folder: Path, profile: Path) -> None:
    result = invoke("search", ddim_folder, "--profile", profile)
    assert result.exit_code == 2
    assert "--target-speedup" in result.stderr
    assert "--max-macs 200G" in result.stderr
    assert "--min-quality psnr=30" in result.stderr


@pytest.mark.parametrize(
    ("option", "value", "complaint"),
    [
        ("--max-macs", "lots", "found 'lots'"),
        ("--max-macs", "0", "found '0'"),
        ("--min-quality", "psnr", "expected psnr=VALUE or ssim=VALUE"),
        ("--min-quality", "fid=3", "expected psnr=VALUE or ssim=VALUE"),
        ("--min-quality", "psnr=101", "expected at most 100, which identical images have"),
        ("--min-quality", "ssim=nan", "expected at most 1, which identical images have"),
    ],
)
def test_search_explains_limits_that_are_none(
    invoke: Invoke, ddim_folder: Path, profile: Path, option: str, value: str, complaint: str
) -> None:
    result = invoke("search", ddim_folder, "--profile", profile, option, value)
    assert result.exit_code == 2
    assert complaint in result.stderr


def test_numbers_of_macs() -> None:
    assert [macs_number(text) for text in ("200G", "1.5t", "3e9", "12")] == [2e11, 1.5e12, 3e9, 12.0]


def test_search_within_limits_and_a_worker_that_joins(
    invoke: Invoke, ddim_folder: Path, profile: Path, tmp_path: Path
) -> None:
    few = ("--trials", 1, "--seeds", 2, "--held-out", 2, "--device", "cpu", "--cut", 0)
    macs = Profile.load(profile).meta.macs.full / 1.2
    result = invoke("search", ddim_folder, "--profile", profile, "--max-macs", macs, "--min-quality", "psnr=1", *few)
    assert result.exit_code == 0, result.stderr
    cost = Schedule.load(tmp_path / "schedule.json").cost
    assert cost is not None
    assert cost.mean_macs is not None
    assert cost.mean_macs <= macs
    held_out = HeldOut.load(tmp_path / "schedule.held-out.json")
    assert all(row.mean_macs <= macs for row in held_out.rows)

    again = invoke("search", ddim_folder, "--profile", profile, "--cost", "time", "--min-quality", "psnr=1", *few)
    assert again.exit_code == 0, again.stderr
    assert "timing calls: 1/1" in again.stderr

    trials = len(StudyResult.from_storage("sqlite:///study.db").trials)
    worker = invoke("worker", ddim_folder, "--device", "cpu", "--json")
    assert worker.exit_code == 0, worker.stderr
    assert json.loads(worker.stdout) == {"study": "deepcadence", "trials": trials, "failed": 0, "own": []}
    assert f"is complete: {trials} trials, 0 of them run by this worker" in worker.stderr


def test_without_a_schedule_to_time_the_search_says_so(
    invoke: Invoke, ddim_folder: Path, profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only = study(trial(0, 2.0, 30, origin="fewer_steps", calls=None, steps=1))
    monkeypatch.setattr("deepcadence.cli.search._study", lambda *_: only)
    result = invoke("search", ddim_folder, "--profile", profile, "--cost", "time", "--min-quality", "psnr=1")
    assert result.exit_code == 1
    assert "study 's' has no finished schedule to choose from" in result.stderr


def test_a_worker_waits_for_its_study_as_long_as_it_was_told(invoke: Invoke, ddim_folder: Path) -> None:
    result = invoke("worker", ddim_folder, "--storage", "none.db")
    assert result.exit_code == 1
    assert "none.db: no such file" in result.stderr
    result = invoke("worker", ddim_folder, "--storage", "none.db", "--wait", 0.001)
    assert result.exit_code == 1
    assert "waiting up to 0.001 minutes" in result.stderr


def test_search_says_what_is_within_reach(invoke: Invoke, ddim_folder: Path, profile: Path, tmp_path: Path) -> None:
    few = ("--trials", 0, "--seeds", 1, "--device", "cpu", "--cut", 0)
    result = invoke("search", ddim_folder, "--profile", profile, "--target-speedup", 1000, *few)
    assert result.exit_code == 1
    assert f"no schedule of {STEPS} calls is 1000 times cheaper: with one full call" in result.stderr
    assert not (tmp_path / "study.db").exists()  # said before any work
    assert not (tmp_path / "schedule.json").exists()


def test_search_with_a_storage_that_is_none(invoke: Invoke, ddim_folder: Path, profile: Path) -> None:
    for storage in ("sqlite:///no/such/folder/study.db", "nonsense://x"):
        result = invoke(
            "search", ddim_folder, "--profile", profile, "--target-speedup", 1.2, "--storage", storage, "--seeds", 1
        )
        assert result.exit_code == 1
        assert result.stderr.splitlines()[-1].startswith("error: ")


def test_generate_with_a_schedule(invoke: Invoke, ddim_folder: Path, tmp_path: Path) -> None:
    invoke("schedule", "new", "--calls", STEPS, "--interval", 3, "--cut", 1, "-o", "s.json")
    result = invoke("generate", ddim_folder, "--schedule", "s.json", "--seed", 0, "--seed", 7, "-o", "fast")
    assert result.exit_code == 0, result.stderr
    assert "wrote 2 images to fast" in result.stderr
    lines = [line.split(" (")[0] for line in result.stderr.splitlines() if line.startswith("generating")]
    assert lines == [f"generating: {done}/{STEPS}" for done in (0, 2, 3, 5, 6)]
    assert "per run 6 calls: 2 full, 4 partial" in result.stderr
    assert invoke("generate", ddim_folder, "--steps", STEPS, "--seed", 7, "-o", "full").exit_code == 0
    assert sorted(path.name for path in (tmp_path / "fast").iterdir()) == ["seed-0.png", "seed-7.png"]
    fast, full = (Image.open(tmp_path / folder / "seed-7.png") for folder in ("fast", "full"))
    assert fast.size == full.size == (16, 16)
    assert fast.tobytes() != full.tobytes()


def test_a_schedule_of_full_calls_changes_nothing(invoke: Invoke, ddim_folder: Path, tmp_path: Path) -> None:
    invoke("schedule", "new", "--calls", STEPS, "--interval", 1, "-o", "s.json")
    assert invoke("generate", ddim_folder, "--schedule", "s.json", "-o", "a").exit_code == 0
    assert invoke("generate", ddim_folder, "--steps", STEPS, "-o", "b").exit_code == 0
    assert (tmp_path / "a" / "seed-0.png").read_bytes() == (tmp_path / "b" / "seed-0.png").read_bytes()


def test_generate_with_a_schedule_that_comes_along(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("generate", "bundled", "--schedule", "bundled-4x", "-o", "out", "--device", "cpu", "--json")
    assert result.exit_code == 0, result.stderr
    run = json.loads(result.stdout)["run"]
    assert (run["full"], run["partial"]) == (8, 42)
    assert (tmp_path / "out/seed-0.png").exists()


def test_generate_refuses_another_number_of_calls(invoke: Invoke, ddim_folder: Path) -> None:
    invoke("schedule", "new", "--calls", STEPS, "--interval", 3, "-o", "s.json")
    result = invoke("generate", ddim_folder, "--schedule", "s.json", "--steps", 9)
    assert result.exit_code == 1
    assert "s.json: calls: found 6 calls, expected 9, as --steps 9 makes; leave --steps out, or" in result.stderr
    assert "deepcadence schedule resample s.json --calls 9 -o FILE" in result.stderr


@pytest.mark.parametrize(("runs", "kept"), [(0, "Nothing was written."), (1, "The images finished so far are in out;")])
def test_ctrl_c_says_which_images_there_are(
    invoke: Invoke, ddim_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs: int, kept: str
) -> None:
    made: list[Sequence[int]] = []
    run = Workload.run

    def interrupted(self: Workload, seeds: Sequence[int]) -> torch.Tensor:
        if len(made) == runs:
            raise KeyboardInterrupt
        made.append(seeds)
        return run(self, seeds)

    monkeypatch.setattr(Workload, "run", interrupted)
    result = invoke("generate", ddim_folder, "--steps", 2, "--seed", 0, "--seed", 1, "--batch-size", 1)
    assert result.exit_code == 130
    assert f"stopped. {kept}" in result.stderr
    assert (tmp_path / "out").exists() == bool(runs)


def test_another_sampler_is_said_once(invoke: Invoke, sd_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a cat\n")
    record = json.loads(uniform(STEPS, 3, 0).dumps())
    record["sampler"] = {"class": "HeunDiscreteScheduler", "steps": STEPS}
    (tmp_path / "s.json").write_text(json.dumps(record))
    result = invoke("generate", sd_folder, "--schedule", "s.json", "--prompts", "prompts.txt")
    assert result.exit_code == 0, result.stderr
    assert result.stderr.count("warning: s.json: sampler.class") == 1


def test_no_empty_folder_is_left_behind(invoke: Invoke, sd_folder: Path, tmp_path: Path) -> None:
    assert invoke("generate", sd_folder, "-o", "new/out").exit_code == 1
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").mkdir()
    assert invoke("generate", sd_folder, "-o", "old").exit_code == 1
    assert (tmp_path / "old").is_dir()


def test_generate_refuses_a_cut_that_the_model_lacks(invoke: Invoke, ddim_folder: Path) -> None:
    invoke("schedule", "new", "--calls", STEPS, "--interval", 3, "--cut", 40, "-o", "s.json")
    result = invoke("generate", ddim_folder, "--schedule", "s.json")
    assert result.exit_code == 1
    assert "found cut 40" in result.stderr


def test_macs_as_json(invoke: Invoke, ddim_folder: Path) -> None:
    results = [json.loads(invoke("macs", place, "--json").stdout) for place in (ddim_folder, ddim_folder / "unet")]
    assert results[0]["full_macs"] == results[1]["full_macs"] > results[0]["partial_macs"]["0"] > 0
    assert results[0]["sample_shape"] == [3, 16, 16]
    assert results[0]["counter"] == "exact"
    assert list(results[0]["partial_macs"]) == ["0", "1", "2", "3", "4", "5"]
    paper = json.loads(invoke("macs", ddim_folder, "--json", "--counter", "paper").stdout)
    assert paper["counter"] == "paper"


def test_macs_of_a_config_alone(invoke: Invoke, ddim_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((ddim_folder / "unet" / "config.json").read_text())
    result = invoke("macs", tmp_path)
    assert result.exit_code == 0, result.stderr
    assert "partial, cut 5" in result.stdout
    assert "up_blocks.1.resnets.2" in result.stdout
    assert "runs again from" in result.stdout


def test_macs_of_a_transformer_name_the_blocks_that_are_left_out(invoke: Invoke, tmp_path: Path) -> None:
    tiny.dit().save_config(tmp_path)
    result = invoke("macs", tmp_path)
    assert result.exit_code == 0, result.stderr
    assert "transformer_blocks.1 to transformer_blocks.4" in result.stdout
    assert "leaves out" in result.stdout
    assert "runs again from" not in result.stdout


def test_search_wants_a_limit(invoke: Invoke, ddim_folder: Path, profile: Path) -> None:
    result = invoke("search", ddim_folder, "--profile", profile)
    assert result.exit_code == 2
    said = " ".join(result.stderr.replace("│", " ").split())
    assert "say what to look for: --target-speedup 2, --max-macs 200G, --min-quality psnr=30" in said


def test_report_wants_something(invoke: Invoke) -> None:
    result = invoke("report", "-o", "r.html")
    assert result.exit_code == 2
    assert "nothing to report" in result.stderr


def test_report_of_a_schedule_alone(invoke: Invoke, tmp_path: Path) -> None:
    invoke("schedule", "new", "--interval", 5, "-o", "s.json")
    assert invoke("report", "--schedule", "s.json", "-o", "r.html").exit_code == 0
    assert "</html>" in (tmp_path / "r.html").read_text()


def test_report_leaves_another_comparison_out(invoke: Invoke, tmp_path: Path) -> None:
    invoke("schedule", "new", "--interval", 5, "-o", "s.json")
    (tmp_path / "s.held-out.json").write_text("{}")
    result = invoke("report", "--schedule", "s.json", "-o", "r.html")
    assert result.exit_code == 1
    assert "s.held-out.json: not a held-out measurement" in result.stderr


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Images of seeds 3, 4 and 5 without a schedule, and of 4, 5 and 6 with one: 4 hardly differs, 5 a lot."""
    found = tmp_path / "full", tmp_path / "cached"
    for folder, grays in zip(found, ({3: 10, 4: 100, 5: 100}, {4: 101, 5: 180, 6: 10}), strict=True):
        folder.mkdir()
        for seed, gray in grays.items():
            Image.new("L", (8, 8), gray).save(folder / f"seed-{seed}.png")
        (folder / "notes.txt").write_text("no image")
    return found


def test_report_with_images_and_figures(invoke: Invoke, folders: tuple[Path, Path], tmp_path: Path) -> None:
    invoke("schedule", "new", "--interval", 5, "-o", "s.json")
    options = ("--images", "full", "cached", "--figures", "figures", "--format", "png,svg", "--json")
    result = invoke("report", "--schedule", "s.json", "-o", "r.html", *options)
    assert result.exit_code == 0, result.stderr
    expected = {f"figures/{name}.{kind}" for name in ("timeline", "images") for kind in ("svg", "png", "csv")}
    assert set(json.loads(result.stdout)["figures"]) == expected
    assert all((tmp_path / name).stat().st_size for name in expected)
    assert (tmp_path / "figures/images.csv").read_text().splitlines()[1].startswith("5,worst,10.0")
    page = (tmp_path / "r.html").read_text()
    assert page.count("<img") == 6
    assert (
        "deepcadence report -o r.html --schedule s.json --images full cached --figures figures --format png,svg" in page
    )


def test_report_refuses_images_that_make_no_pairs(invoke: Invoke, folders: tuple[Path, Path]) -> None:
    invoke("schedule", "new", "--interval", 5, "-o", "s.json")
    report = ("report", "--schedule", "s.json", "--images", "full", "cached")
    Image.new("RGB", (9, 8)).save(folders[0] / "seed-4.png")
    result = invoke(*report)
    assert result.exit_code == 1
    assert "differ in size: found 8x8, 1 channels and 9x8, 3 channels" in result.stderr
    (folders[0] / "seed-4.png").write_text("no PNG")
    assert "cannot identify image file" in invoke(*report).stderr
    for seed in (4, 5):
        (folders[0] / f"seed-{seed}.png").unlink()
    assert "no image of the same seed: found 1 and 3 files" in invoke(*report).stderr


def test_report_refuses_images_of_different_numbers_of_steps(invoke: Invoke, ddim_folder: Path, tmp_path: Path) -> None:
    invoke("schedule", "new", "--calls", STEPS, "--interval", 3, "-o", "s.json")
    invoke("generate", ddim_folder, "--schedule", "s.json", "-o", "cached")
    invoke("generate", ddim_folder, "--steps", STEPS + 1, "-o", "full")
    report = ("report", "--schedule", "s.json", "--images", "full", "cached", "-o", "r.html")
    result = invoke(*report)
    assert result.exit_code == 1
    assert "was made in 7 steps and" in result.stderr
    assert "give `deepcadence generate` the same --steps for both" in result.stderr
    invoke("generate", ddim_folder, "--steps", STEPS, "-o", "full")
    assert invoke(*report).exit_code == 0


def test_report_is_of_one_model(invoke: Invoke, profile: Path, tmp_path: Path) -> None:
    record = json.loads(uniform(STEPS, 3, 0).dumps())
    record["model"] = {"class": "UNet2DModel", "config_sha256": "0" * 64, "cuts": {"0": "x"}}
    (tmp_path / "s.json").write_text(json.dumps(record))
    result = invoke("report", "--profile", profile, "--schedule", "s.json", "-o", "r.html")
    assert result.exit_code == 1
    assert "a report is about one model: found the profile of UNet2DModel with config" in result.stderr
    assert "and the schedule of UNet2DModel with config 000000000000" in result.stderr
    assert not (tmp_path / "r.html").exists()


def test_report_refuses_other_formats(invoke: Invoke, tmp_path: Path) -> None:
    invoke("schedule", "new", "--interval", 5, "-o", "s.json")
    result = invoke("report", "--schedule", "s.json", "--figures", "f", "--format", "svg,gif")
    assert result.exit_code == 2
    assert "found 'gif', expected some of svg, pdf, png" in result.stderr
    assert not (tmp_path / "f").exists()


def test_call_gives_what_else_a_pipeline_takes(invoke: Invoke, tmp_path: Path) -> None:
    tiny.dit_pipeline().save_pretrained(tmp_path / "dit")
    probe = ("probe", "dit", "--steps", 3, "--seeds", 1, "--cut", 0, "--max-distance", 0, "--device", "cpu")
    for call, sentence in (
        ((), "DiTPipeline needs class_labels: give call_kwargs={'class_labels': ...}, or on the command line --call"),
        (
            ("class_label=1",),
            "found class_label, which DiTPipeline does not take; it takes class_labels, guid",
        ),
        (("class_labels=cat",), "DiTPipeline does not run with these arguments"),
    ):
        result = invoke(*probe, *(word for each in call for word in ("--call", each)))
        assert (result.exit_code, sentence in result.stderr) == (1, True), result.stderr
    assert invoke(*probe, "--call", "class_labels").exit_code == 2
    result = invoke(*probe, "--call", "class_labels=[1, 2]", "--call", "guidance_scale=1")
    assert result.exit_code == 0, result.stderr
    assert "--target-speedup 2 --call 'class_labels=[1, 2]' --call guidance_scale=1 -o" in result.stderr
    assert Profile.load(tmp_path / "profile.safetensors").num_calls == 3
    assert read_call(["a=1.5", "b=[1]", "c=blurry, dark", "d="]) == {"a": 1.5, "b": [1], "c": "blurry, dark", "d": ""}


def test_generate_without_a_schedule_says_what_is_wrong_with_a_call(
    invoke: Invoke, ddim_folder: Path, sd_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "prompts.txt").write_text("a coat\n")
    for model, call, sentence in (
        (ddim_folder, "etta=1", "found etta, which DDIMPipeline does not take; it takes eta, use_clipped_model_output"),
        (ddim_folder, "eta=much", "DDIMPipeline does not run with these arguments: TypeError: "),
        (
            sd_folder,
            "guidence=2",
            "found guidence, which StableDiffusionPipeline does not take; it takes height",
        ),
        (sd_folder, "clip_skip=9", "StableDiffusionPipeline does not run with these arguments: IndexError: "),
    ):
        prompts = ("--prompts", "prompts.txt") if model == sd_folder else ()
        result = invoke("generate", model, *prompts, "--steps", 2, "--device", "cpu", "--call", call)
        assert (result.exit_code, sentence in result.stderr) == (1, True), result.stderr or result.exception
