"""Executes the notebooks beside this file, each in a kernel of its own and in an empty folder.

    python notebooks/execute.py           keeps the outputs in the notebooks (`make notebooks`)
    python notebooks/execute.py --check   keeps nothing, and prints nothing if all is well (the end of `make test`)

A cell that raises ends it, and so does an output that no reader should see: a warning, a path of this machine, or the
address of an object.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

FOLDER = Path(__file__).resolve().parent
SECONDS_A_CELL = 900
# No progress bars in outputs, and no advice to install widgets for them.
QUIET = {"TQDM_DISABLE": "1", "PYTHONWARNINGS": "ignore:IProgress not found"}


class NotebookError(Exception):
    """A notebook does not run, or leaves something behind that no reader should see."""


def execute(path: Path) -> NotebookNode:
    """The notebook at `path`, executed from top to bottom, with nothing in it that changes from day to day.

    Raises:
        NotebookError: a cell raised, or an output is not fit to be kept.
    """
    notebook: NotebookNode = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            timeout=SECONDS_A_CELL,
            kernel_name="python3",
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": folder}},
        )
        try:
            client.execute(env={**os.environ, **QUIET}, transport_encryption="auto")
        except CellExecutionError as error:
            raise NotebookError(f"{path.name}: {error}") from error
        places = (folder, str(FOLDER.parent), sys.prefix)
    for problem in problems(notebook, places):
        raise NotebookError(f"{path.name}: {problem}")
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return notebook


def problems(notebook: NotebookNode, places: tuple[str, ...]) -> Iterator[str]:
    """What is wrong with the outputs of an executed notebook; `places` are paths that they may not name."""
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            text = _text(output)
            if output.get("name") == "stderr":
                yield f"cell {cell.execution_count} wrote to stderr: {text}"
            found = next((place for place in places if place in text), None) or re.search(r" at 0x[0-9a-f]{6,}", text)
            if found:
                yield f"cell {cell.execution_count} shows what differs from machine to machine: {text}"


def _text(output: NotebookNode) -> str:
    data = output.get("data", {})
    return str(output.get("text", "")) + "".join(str(data[kind]) for kind in data if kind.startswith("text/"))


def main() -> None:
    """Execute the notebooks that the command line names, or all."""
    parser = argparse.ArgumentParser(description="Execute the notebooks.")
    parser.add_argument("--check", action="store_true", help="keep nothing")
    parser.add_argument("notebooks", nargs="*", type=Path, default=sorted(FOLDER.glob("*.ipynb")))
    chosen = parser.parse_args()
    for path in chosen.notebooks:
        began = time.perf_counter()
        try:
            notebook = execute(path)
        except NotebookError as error:
            sys.exit(str(error))
        if not chosen.check:
            nbformat.write(notebook, path)  # type: ignore[no-untyped-call]
            print(f"{path.name}: executed in {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
