"""The command line that a report shows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from deepcadence.cli.command import AsJson, Command, Debug, Quiet
from deepcadence.cli.options import Cuts, DType, Dtype, Storage
from deepcadence.cli.typed import command_line
from deepcadence.probe import Profile
from deepcadence.search import StudyResult
from tests.cli.conftest import Invoke


def tell(
    model: str,
    out: Annotated[Path, typer.Option("-o", "--out")] = Path("x"),
    storage: Storage = "sqlite:///study.db",
    cuts: Cuts = None,
    dtype: DType = Dtype.float32,
    images: Annotated[tuple[Path, Path] | None, typer.Option("--images")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    typer.echo(command_line())


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("m", "m"),
        ("m --out=a -q --json --debug", "m -o a"),
        ("--dtype float16 --branch 2 --cut 0 m", "m --cut 2 --cut 0 --dtype float16"),
        ("m --images a b", "m --images a b"),
        ("m --storage=postgresql+psycopg://me:secret@h/db", "m --storage 'postgresql+psycopg://me:***@h/db'"),
        ("m --storage mysql://h/db?password=secret", "m --storage 'mysql://h/db?password=***'"),
        ("m --storage mysql://h/db?passwd=secret", "m --storage 'mysql://h/db?passwd=***'"),
        ("m --storage mysql://me:secret@h:bad/db", "m --storage 'mysql://me:***@h:bad/db'"),
        ("m;rm", "'m;rm'"),
    ],
)
def test_it_can_be_typed_again_and_keeps_secrets(typed: str, told: str) -> None:
    app = typer.Typer()
    app.command(cls=Command)(tell)
    result = CliRunner().invoke(app, typed.split(), prog_name="deepcadence tell")
    assert result.stdout == f"deepcadence tell {told}\n", result.stderr


def test_profile_study_and_report_keep_it(invoke: Invoke, ddim_folder: Path, tmp_path: Path) -> None:
    few = ("--trials", 0, "--seeds", 1, "--held-out", 2, "--cut", 0, "--device", "cpu")
    for words in (
        ("probe", ddim_folder, "--steps", 4, "--seeds", 1, "--max-distance", 0, "-o", "p.safetensors"),
        ("search", ddim_folder, "--profile", "p.safetensors", "--target-speedup", 1.1, *few),
        ("report", "--profile", "p.safetensors", "--study", "sqlite:///study.db", "-o", "r.html"),
    ):
        result = invoke(*words)
        assert result.exit_code == 0, result.stderr
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    probed = Profile.load(tmp_path / "p.safetensors").meta.setup.command
    searched = StudyResult.from_storage(tmp_path / "study.db").setup.command
    assert probed == f"deepcadence probe {ddim_folder} -o p.safetensors --steps 4 --seeds 1 --max-distance 0"
    assert searched.startswith(f"deepcadence search {ddim_folder} --profile p.safetensors --target-speedup 1.1")
    last = "deepcadence report -o r.html --profile p.safetensors --study sqlite:///study.db"
    assert "\n".join([probed, searched, last]) in page
