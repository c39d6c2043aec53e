"""The built documentation: strict, alone, and as wide as its window."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deepcadence.schedules import json_schema
from tests.docs.blocks import ROOT
from tests.reports.pages import Page

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

LOADED = re.compile(r"<(?:script|img|iframe|source)\b[^>]*\bsrc=[\"']?([^\"' >]+)|<link\b[^>]*>", re.IGNORECASE)
WIDE = """
const width = document.documentElement.clientWidth, wide = [];
for (const e of document.querySelectorAll('.md-content *')) {
  if (e.closest('pre, .md-typeset__scrollwrap, .highlight')) continue;
  if (e.getBoundingClientRect().right > width + 1) wide.push(e.tagName + ' ' + e.textContent.trim().slice(0, 60));
}
return wide;
"""


CUT_OFF = """
return [...document.querySelectorAll('.md-typeset__scrollwrap')].filter(e => e.scrollWidth > e.clientWidth + 1)
  .map(e => e.textContent.trim().slice(0, 60));
"""


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it."""
    pytest.importorskip("mkdocs", reason="no MkDocs: pip install --group docs")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="session")
def address(site: Path) -> Iterator[str]:
    """Where a server of this test gives the site out."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(site))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def pages(site: Path) -> dict[str, str]:
    return {path.relative_to(site).as_posix(): path.read_text(encoding="utf-8") for path in site.rglob("*.html")}


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    for name, text in pages(site).items():
        for match in LOADED.finditer(text):
            rel, href = (re.search(rf'{key}="?([^" >]+)', match[0]) for key in ("rel", "href"))
            source = match[1] or (href[1] if href and rel and rel[1] in ("stylesheet", "preconnect", "icon") else "")
            assert not source.startswith(("http", "//")), f"{name}: {source}"


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    from deepcadence import probe, reports, schedules, search

    for package in (schedules, probe, search, reports):
        short = package.__name__.rpartition(".")[2]
        text = (site / "reference" / f"{short}.html").read_text(encoding="utf-8")
        missing = [name for name in package.__all__ if f'id="{package.__name__}.{name}"' not in text]
        assert not missing
        assert "doc-symbol-module" not in text, "a function has the name of its module, and the module is shown"
        assert not re.search(r"<b><code>(<[^>]*>)?\w+,", text), "attributes that share a line are shown as one"


def test_what_one_calls_comes_first(site: Path) -> None:
    text = (site / "reference" / "schedules.html").read_text(encoding="utf-8")
    places = [text.index(f'id="deepcadence.schedules.{name}"') for name in ("cached", "Schedule", "MAX_CALLS")]
    assert places == sorted(places)


def test_every_command_and_key_is_there(site: Path) -> None:
    from typer.main import get_command

    from deepcadence.cli._app import app

    text = (site / "reference" / "command.html").read_text(encoding="utf-8")
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        for inner in getattr(command, "commands", {"": command}):
            assert f"deepcadence {name} {inner}".strip() in text
    text = (site / "formats" / "schedule.html").read_text(encoding="utf-8")
    assert not [key for key in json_schema()["properties"] if f"<code>{key}</code>" not in text]


def test_notebooks_are_pages_with_all_their_pictures(site: Path) -> None:
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        pictures = sum("image/png" in output.get("data", {}) for cell in cells for output in cell.get("outputs", []))
        text = (site / "notebooks" / f"{path.stem}.html").read_text(encoding="utf-8")
        found = re.findall(r'<img [^>]*src="?([^" >]+[.]png)', text)
        assert len(found) == pictures > 0
        assert all((site / "notebooks" / name).is_file() for name in found)
        assert f">{path.name}</a>" in text
        assert (site / "notebooks" / path.name).is_file()


def test_names_break_where_a_reader_would(site: Path) -> None:
    text = (site / "reference" / "command.html").read_text(encoding="utf-8")
    assert '<span class="whole"><code>--batch-size</code></span>' in text
    assert '<span class="whole">(<code>--target-speedup</code>,</span>' in text, "an option in a help text is code"
    text = (site / "support.html").read_text(encoding="utf-8")
    assert "<code>test_<wbr>runtime.py::<wbr>test_" in text


def test_columns_of_words_begin_at_the_left(site: Path) -> None:
    text = (site / "reports" / "results" / "benchmark-equal-macs.html").read_text(encoding="utf-8")
    assert "<td>fewer steps</td>" in text
    assert '<td style="text-align: right;">' in text
    assert '<span class="whole">[' in text


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize(
    "name",
    [
        "index",
        "support",
        "reference/command",
        "reference/schedules",
        "formats/schedule",
        "notebooks/02_search_a_schedule",
        "reports/results/benchmark-equal-macs",
    ],
)
def test_a_page_is_quiet_alone_and_no_wider_than_the_window(
    browser: WebDriver, address: str, name: str, width: int
) -> None:
    page = Page.open(browser, f"{address}/{name}.html", width)
    assert page.run("return document.documentElement.scrollWidth") <= width
    assert page.run(WIDE) == []
    assert width < 1280 or page.run(CUT_OFF) == []
    assert [url for url in page.requests() if not url.startswith((address, "blob:"))] == []
    assert page.console() == []
