"""What many tests share: calm threads, a model in a folder, a browser, a database.

Fixtures for the two that not every machine has:

    def test_page(browser): ...            # a headless Chromium, driven by selenium
    def test_storage(postgresql_url): ...  # an empty PostgreSQL database of a throw-away server
    def test_outage(postgresql_url, postgresql_outage): ...  # with postgresql_outage(): the server is down

Without them a test is skipped by name; where `CI=true` it fails instead.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import hypothesis
import pytest
import torch

from tests import tiny

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

# No test fails because a machine is slow. What CI=true sets beside, the same examples each time, stays.
hypothesis.settings.register_profile(
    "patient",
    parent=hypothesis.settings(),
    deadline=None,
    suppress_health_check=[*hypothesis.settings().suppress_health_check, hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("patient")
torch.set_num_threads(1)  # the models here are tiny, and pytest-xdist has a worker on each core


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if "browser" in fixtures:
            item.add_marker(pytest.mark.browser)
        if "postgresql_url" in fixtures:
            item.add_marker(pytest.mark.database)
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def missing(what: str, how: str) -> NoReturn:
    """Skip the test for want of `what`, or fail it where CI=true; `how` says what to install."""
    reason = f"no {what} on this machine: {how}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def browser() -> Iterator[WebDriver]:
    """A headless Chromium whose console and network log can be read.

    `driver.get_log("browser")` gives console messages, `driver.get_log("performance")` network events.
    """
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    chromedriver = shutil.which("chromedriver")
    if not chromium or not chromedriver:
        missing("Chromium with its driver", "install chromium and chromium-driver")
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    options = ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options=options, service=ChromeService(chromedriver))
    yield driver
    driver.quit()


@pytest.fixture(scope="session")
def sd_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text-to-image pipeline with random weights."""
    folder = tmp_path_factory.mktemp("models") / "sd"
    tiny.sd_pipeline().save_pretrained(folder)
    return folder


class _Server:
    """A PostgreSQL server in a folder of its own."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self._folder = programs, folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.url = f"postgresql+psycopg://test@127.0.0.1:{self._port}"
        _as_postgres(folder, programs / "initdb", "-D", "data", "-U", "test", "-A", "trust", "--no-sync")

    def start(self) -> None:
        self._control("-l", "log", "-o", f"-p {self._port} -k '' -h 127.0.0.1 -F", "start")

    def stop(self) -> None:
        """At once: connections are cut, and the next start recovers as after a crash."""
        self._control("-m", "immediate", "stop")

    def _control(self, *arguments: str) -> None:
        _as_postgres(self._folder, self._programs / "pg_ctl", "-D", "data", "-w", *arguments)


@pytest.fixture(scope="session")
def _postgresql_server() -> Iterator[_Server]:
    """A PostgreSQL server that lives as long as the test session."""
    initdb = next(Path("/usr/lib/postgresql").glob("*/bin/initdb"), None) or shutil.which("initdb")
    if initdb is None:
        missing("PostgreSQL server", "install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="deepcadence-postgresql-"))
    try:
        server = _Server(Path(initdb).resolve().parent, folder)
        server.start()
        yield server
        server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgresql_url(_postgresql_server: _Server) -> str:
    """SQLAlchemy URL of a new, empty PostgreSQL database."""
    import psycopg

    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(_postgresql_server.url.replace("+psycopg", "") + "/postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return f"{_postgresql_server.url}/{name}"


@pytest.fixture
def postgresql_outage(_postgresql_server: _Server) -> Callable[[], AbstractContextManager[None]]:
    """`with postgresql_outage(): ...`: the server of `postgresql_url` is down inside."""

    @contextmanager
    def outage() -> Iterator[None]:
        _postgresql_server.stop()
        try:
            yield
        finally:
            _postgresql_server.start()

    return outage


def _as_postgres(folder: Path, program: Path, *arguments: str) -> None:
    """Run a server program in `folder`, as the user `postgres` where we are root, for whom it would refuse."""
    words = [str(program), *arguments]
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
        words = ["runuser", "-u", "postgres", "--", *words]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, cwd=folder)
