from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from diffusers import DDIMScheduler
from typer import BadParameter

from deepcadence.cli.search_space import DEFAULT_THRESHOLDS, Alphas, Reuse, Spacing, searched
from deepcadence.schedules import SamplerInfo, uniform
from deepcadence.search.space import DEFAULT_ALPHAS
from tests import tiny
from tests.cli.conftest import Invoke


def test_options_become_arguments() -> None:
    plain = {"orders": None, "alphas": None, "thresholds": (), "max_holds": (), "steps": (), "spacings": None}
    assert searched(None, None, None, None, None, None) == plain
    found = searched([Reuse.line, Reuse.hold], [1.25], None, None, [30], [Spacing.leading])
    assert found == plain | {"orders": [1, 0], "alphas": [1.25], "steps": [30], "spacings": ["leading"]}
    found = searched([Reuse.adaptive], None, [0.1], [4], None, None)
    assert found == plain | {"orders": [], "thresholds": [0.1], "max_holds": [4]}
    assert searched([Reuse.adaptive], None, None, None, None, None)["thresholds"] == DEFAULT_THRESHOLDS


def test_the_help_names_the_default_strengths() -> None:
    _, option = get_args(Alphas)
    assert f"[default: {', '.join(map(str, DEFAULT_ALPHAS))}]" in option.help


@pytest.mark.parametrize(("name", "given"), [("--threshold", ([0.1], None)), ("--max-hold", (None, [4]))])
def test_what_belongs_to_adaptive_schedules(name: str, given: tuple[list[float] | None, list[int] | None]) -> None:
    with pytest.raises(BadParameter, match="add --reuse adaptive") as error:
        searched(None, None, *given, None, None)
    assert error.value.param_hint == name


def test_generate_runs_the_sampler_as_the_schedule_says(
    invoke: Invoke, ddim_folder: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    sampler = SamplerInfo(class_name="DDIMScheduler", steps=4, timestep_spacing="trailing")
    uniform(4, 1, 0).model_copy(update={"sampler": sampler}).save(tmp_path / "s.json")
    result = invoke("generate", ddim_folder, "--schedule", "s.json", "--device", "cpu", "-o", "a")
    assert result.exit_code == 0, result.stderr
    assert not [each for each in recwarn if "sampler" in str(each.message)]
    pipe = tiny.ddim_pipeline()
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, timestep_spacing="trailing")
    pipe.save_pretrained(tmp_path / "trailing")
    assert invoke("generate", "trailing", "--steps", 4, "--device", "cpu", "-o", "b").exit_code == 0
    assert (tmp_path / "a" / "seed-0.png").read_bytes() == (tmp_path / "b" / "seed-0.png").read_bytes()
    refused = invoke("generate", ddim_folder, "--schedule", "s.json", "--steps", 6, "--device", "cpu")
    assert refused.exit_code == 1
    assert "run num_inference_steps=4, as its sampler.steps says" in refused.stderr
