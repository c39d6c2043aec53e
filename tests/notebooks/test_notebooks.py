"""The notebooks as they are committed, and what executes them. `make test` ends with executing them all."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from tempfile import gettempdir

import nbformat
import pytest
from nbformat import NotebookNode

from notebooks.execute import NotebookError, execute, problems

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
EXECUTE = ROOT / "notebooks" / "execute.py"

each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> NotebookNode:
    notebook: NotebookNode = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    return notebook


def written(path: Path, *cells: str) -> Path:
    """A notebook of code cells."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])  # type: ignore[no-untyped-call]
    nbformat.write(notebook, path)  # type: ignore[no-untyped-call]
    return path


def test_there_is_one_for_each_use() -> None:
    assert [path.name[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04"]


@each
def test_outputs_come_from_one_execution_as_a_whole(path: Path) -> None:
    code = [cell for cell in read(path).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    pictures = [output for cell in code for output in cell.outputs if "image/png" in output.get("data", {})]
    assert len(pictures) >= 4


@each
def test_nothing_in_it_changes_from_day_to_day_or_from_machine_to_machine(path: Path) -> None:
    notebook = read(path)
    assert list(problems(notebook, ("/home/", "/root/", gettempdir() + "/", "site-packages"))) == []
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.language_info == {"name": "python"}
    assert not [cell.metadata for cell in notebook.cells if cell.metadata]


@each
def test_it_says_what_to_change_for_stable_diffusion(path: Path) -> None:
    cells = read(path).cells
    note = cells[-1].source
    assert note.startswith("## On a GPU, with Stable Diffusion")
    settings, *more = re.findall(r"```python\n(.*?)```", note, re.DOTALL)
    _imports, replaced, *others = [cell.source for cell in cells if cell.cell_type == "code"]
    assert names(settings) == names(replaced)
    known = names("\n".join((replaced, *others)))
    for lines in more:  # put into cells that are there
        assert used(lines) <= known


def names(source: str) -> set[str]:
    """What a cell defines."""
    nodes = list(ast.walk(ast.parse(source)))
    stored = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return stored | {node.name for node in nodes if isinstance(node, ast.FunctionDef)}


def used(source: str) -> set[str]:
    """What a cell takes from those before it."""
    nodes = list(ast.walk(ast.parse(source)))
    imported = {name.asname or name.name for node in nodes if isinstance(node, ast.ImportFrom) for name in node.names}
    return {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)} - imported


@each
def test_its_links_lead_somewhere(path: Path) -> None:
    cells = read(path).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    headings = {"#" + title.replace(" ", "-") for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert target in headings or (path.parent / target).is_file(), target


def test_outputs_are_kept_and_the_same_every_time(tmp_path: Path) -> None:
    path = written(tmp_path / "a.ipynb", "x = 1\nprint('x')", "from pathlib import Path\nPath('made').touch()\nx + 1")
    kept = []
    for _ in range(2):
        done = subprocess.run([sys.executable, EXECUTE, path], capture_output=True, text=True, check=True)
        assert re.fullmatch(r"a\.ipynb: executed in \d+ s\n", done.stdout), done.stdout
        assert done.stderr == ""
        kept.append(path.read_bytes())
    assert kept[0] == kept[1]
    first, second = read(path).cells
    assert first.outputs == [{"name": "stdout", "output_type": "stream", "text": "x\n"}]
    assert second.outputs[0].data == {"text/plain": "2"}
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_is_noticed_and_nothing_is_kept(tmp_path: Path) -> None:
    good, bad = written(tmp_path / "a.ipynb", "1"), written(tmp_path / "b.ipynb", "print('before')", "1 / 0")
    before = [good.read_bytes(), bad.read_bytes()]
    done = subprocess.run([sys.executable, EXECUTE, "--check", good, bad], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "b.ipynb" in done.stderr
    assert "ZeroDivisionError" in done.stderr
    assert [good.read_bytes(), bad.read_bytes()] == before


@pytest.mark.parametrize(
    ("cell", "complaint"),
    [
        ("import warnings\nwarnings.warn('beware')", "cell 1 wrote to stderr: .*beware"),
        ("from pathlib import Path\nprint(Path.cwd())", "cell 1 shows what differs from machine to machine"),
        ("object()", "cell 1 shows what differs from machine to machine: <object at"),
    ],
)
def test_an_output_that_no_reader_should_see_is_noticed(tmp_path: Path, cell: str, complaint: str) -> None:
    with pytest.raises(NotebookError, match=rf"(?s)a\.ipynb: {complaint}"):
        execute(written(tmp_path / "a.ipynb", cell))
