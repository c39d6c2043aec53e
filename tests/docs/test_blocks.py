"""Every code block of the README and of the documentation is run, in the order of its page."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from diffusers import ControlNetModel
from PIL import Image

from deepcadence.probe import Workload, bundled, probe
from deepcadence.schedules import uniform
from deepcadence.search import run_study
from tests import tiny
from tests.docs.blocks import ROOT, Page, blocks, smaller

PAGES = [
    ROOT / "README.md",
    ROOT / "benchmarks" / "README.md",
    ROOT / "campaigns" / "README.md",
    ROOT / "probe/deepcadence/probe/bundled/model/README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
WITH_BLOCKS = [path for path in PAGES if blocks(path)]
# Pages whose figures are those of the real bundled model; elsewhere a smaller one stands in for it.
REAL_MODEL = ("literature.md", "method.md")


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a reader has at hand: models, prompts, a sketch, and what earlier pages leave behind."""
    folder = tmp_path_factory.mktemp("desk")
    pipe = tiny.sd_pipeline()
    pipe.save_pretrained(folder / "my-model")
    net = ControlNetModel.from_unet(pipe.unet, conditioning_embedding_out_channels=(8, 16))
    net.save_pretrained(folder / "my-controlnet")
    Image.linear_gradient("L").resize((16, 16)).convert("RGB").save(folder / "sketch.png")
    tiny.ddim_pipeline().save_pretrained(folder / "bundled")
    (folder / "prompts.txt").write_text("a lighthouse at dusk\na red bicycle\n")
    uniform(50, 5, 0).save(folder / "schedule.json")
    workload = Workload(pipe, steps=6, seeds=(0, 1), prompts=("a lighthouse at dusk", "a red bicycle"))
    profile = probe(workload, max_distance=1)
    profile.save(folder / "profile.safetensors")
    few = {"trials": 1, "max_uniform": 1, "max_published": 1, "fewer_steps": [3], "cuts": [0]}
    run_study(workload, profile=profile, storage=folder / "study.db", **few)  # type: ignore[arg-type]
    return folder


@pytest.mark.parametrize("path", WITH_BLOCKS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_block_of_the_page(path: Path, desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shutil.copytree(desk, tmp_path / "desk")
    monkeypatch.chdir(folder)
    monkeypatch.setattr("torch.compile", lambda module, **_: module)  # seconds to minutes; tests/schedules do it
    monkeypatch.setattr("deepcadence.schedules.families._registered", {})  # what a page registers is its own
    if path.name not in REAL_MODEL:
        monkeypatch.setattr(bundled, "path", lambda: folder / "bundled")
        monkeypatch.setattr(bundled, "check_weights", lambda: None)
    Page(path, folder / "my-model").run()


def test_the_pages_that_matter_have_blocks() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in WITH_BLOCKS}
    how_to = {f"docs/how-to/{name}.md" for name in ("profile", "search", "many-machines", "serve", "watch")}
    assert {"README.md", "docs/get-started.md", "docs/literature.md", "docs/formats/schedule.md"} | how_to <= names


def test_blocks_are_found_wherever_they_stand(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n\n```python\nx = 1\n```\n\n- b\n\n    ```console\n    $ ls\n    ```\n\n```\nplain\n```\n")
    assert [(block.language, block.text, block.line) for block in blocks(page)] == [
        ("python", "x = 1\n", 4),
        ("console", "$ ls\n", 10),
        ("", "plain\n", 14),
    ]


def test_smaller_changes_numbers_only() -> None:
    assert smaller("Workload(p, steps=50, seeds=tuple(range(16)))") == "Workload(p, steps=6, seeds=tuple(range(2)))"
    assert smaller("deepcadence generate m --schedule s") == "deepcadence generate m --schedule s"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("```python\n1 / 0\n```", "division by zero"),
        ("```pycon\n>>> 1 + 1\n3\n```", "Expected"),
        ("```console\n$ deepcadence schedule show none.json\n```", "No such file"),
        ("```console\n$ deepcadence schedule new --interval 5 --no-such-option -o s.json\n```", "no-such-option"),
        ("```console\n$ deepcadence schedule validate schedule.json\nsomething else\n```", "50 calls"),
        ("```console\n$ make nonsense\n```", "make nonsense"),
        ('```console\n$ pip install "deepcadence[nonsense]"\n```', "nonsense"),
        ("```json\n{\n```", "Expecting"),
        ('```json\n{"format": "deepcadence/schedule", "version": 1, "calls": [1]}\n```', "calls"),
        ("```bash\nif true; then\n```", "syntax error"),
        ("```bash\nif true; then\n    deepcadence schedule show none.json\nfi\n```", "No such file"),
        (
            "```yaml\nspec: {template: {spec: {containers: [{command: [make, nonsense]}]}}}\n```",
            "make nonsense",
        ),
        ("```haskell\nmain\n```", "haskell"),
    ],
)
def test_a_block_that_is_wrong_is_noticed(
    text: str, complaint: str, desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.md"
    page.write_text(text + "\n")
    shutil.copy(desk / "schedule.json", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tests.docs.blocks.ROOT", tmp_path)
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    with pytest.raises((AssertionError, ArithmeticError, ValueError), match=complaint):
        Page(page, desk / "my-model").run()
