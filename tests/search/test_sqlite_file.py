"""SQLite files of others: nothing but the tables of a study is opened, and nothing beside it is touched."""

from __future__ import annotations

import os
import shutil
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import alembic.command
import alembic.config
import optuna.storages
import pytest
from optuna.storages import RDBStorage
from sqlalchemy.exc import SQLAlchemyError

from deepcadence.search import SearchError, StudyResult
from deepcadence.search.sqlite_file import MAX_VALUE_BYTES, check_sqlite
from deepcadence.search.storage import close, open_storage

MAGIC = bytes.fromhex("d9d505f920a163d7")
OPENED: list[Callable[[Path], object]] = [StudyResult.from_storage, open_storage]  # to read, and to go on


def run_sql(path: Path, *statements: str) -> Path:
    with closing(sqlite3.connect(path)) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()
    return path


def forged(path: Path, name: str, sql: str) -> Path:
    """The statement of a table exchanged behind SQLite's back."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA writable_schema = ON")
        database.execute("UPDATE sqlite_master SET sql = ? WHERE name = ?", (sql, name))
        database.commit()
    return path


def refused(path: Path, message: str) -> None:
    for opened in OPENED:
        with pytest.raises(SearchError, match=message):
            opened(path)


def super_journal(database: Path, named: Path) -> Path:
    """A journal of a transaction over several databases, which says where the list of them is."""
    data, name = database.read_bytes(), os.fsencode(named)
    size = struct.unpack(">H", data[16:18])[0]
    header = (MAGIC + struct.pack(">5I", 0, 12345, len(data) // size, 512, size)).ljust(512, b"\0")
    record = struct.pack(">I", 2**30 // size + 1) + name + struct.pack(">2I", len(name), sum(name)) + MAGIC
    journal = database.with_name(f"{database.name}-journal")
    journal.write_bytes(header + record)
    return journal


def test_a_journal_that_names_another_file_deletes_nothing(storage: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    database, thesis = tmp_path / "theirs/study.db", tmp_path / "thesis.txt"
    shutil.copy(storage, database)
    thesis.write_text("chapter one")
    journal = super_journal(database, thesis)
    (tmp_path / "link.db").symlink_to(database)
    for path in (database, tmp_path / "link.db"):
        refused(path, r"study\.db-journal: found a journal that names another file, which SQLite would delete")
    assert thesis.read_text() == "chapter one"
    assert journal.exists()


KILLED = """
import os, sqlite3, sys
database = sqlite3.connect(sys.argv[1])
database.execute("PRAGMA cache_size = 2")
rows = [("x" * 500 + str(number),) for number in range(2000)]
database.executemany("INSERT INTO studies (study_name) VALUES (?)", rows)
os._exit(9)
"""


def test_an_ordinary_transaction_that_was_killed_is_rolled_back(storage: Path) -> None:
    before, journal = storage.read_bytes(), storage.with_name(f"{storage.name}-journal")
    for opened in (lambda: check_sqlite(storage), lambda: close(open_storage(storage))):
        assert subprocess.run([sys.executable, "-c", KILLED, str(storage)], check=False).returncode == 9
        assert journal.stat().st_size > 512
        assert storage.read_bytes() != before
        opened()
        assert not journal.exists()
        assert storage.read_bytes() == before


@pytest.mark.parametrize("suffix", ["-journal", "-wal", "-shm"])
def test_what_lies_beside_a_database_is_a_file(storage: Path, suffix: str, tmp_path: Path) -> None:
    beside = storage.with_name(storage.name + suffix)
    os.mkfifo(beside)
    refused(storage, f"{beside.name}: found no regular file")
    beside.unlink()
    beside.symlink_to(tmp_path / "elsewhere")
    refused(storage, f"{beside.name}: found no regular file")


def test_a_write_ahead_log_is_content_and_checked_as_such(storage: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    with closing(sqlite3.connect(storage)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("INSERT INTO studies (study_name) VALUES ('from the log')")
        database.commit()
        for suffix in ("", "-wal"):
            shutil.copy(f"{storage}{suffix}", f"{copy}{suffix}")
        assert check_sqlite(copy) == check_sqlite(storage)
        with closing(sqlite3.connect(copy)) as read:
            assert read.execute("SELECT study_name FROM studies").fetchall() == [("from the log",)]
        database.execute("CREATE VIEW cats AS SELECT 1")
        database.commit()
        for suffix in ("", "-wal"):
            shutil.copy(f"{storage}{suffix}", f"{copy}{suffix}")
    refused(copy, r"copy\.db: found a view 'cats', expected only the tables of a study")


def test_a_trigger_may_not_hide_behind_a_table_of_its_name(storage: Path) -> None:
    trigger = "CREATE TRIGGER cats AFTER INSERT ON trials BEGIN SELECT 1; END"
    refused(run_sql(storage, trigger, "CREATE TABLE cats (name)"), r"study\.db: found a trigger 'cats'")


BOMB = "hex(zeroblob(450000000))"


@pytest.mark.parametrize("kind", ["VIRTUAL", "STORED"])
def test_columns_that_are_computed_are_refused_and_never_computed(storage: Path, kind: str) -> None:
    columns = f"trial_user_attribute_id INTEGER PRIMARY KEY, trial_id, key, value_json AS ({BOMB}) {kind}"
    table = f"CREATE TABLE trial_user_attributes ({columns})"
    run_sql(storage, "DROP TABLE trial_user_attributes", table)
    refused(storage, rf"study\.db: found an expression in the table 'trial_user_attributes': 'AS \({BOMB[:3]}")


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (f"CREATE TABLE cats (name DEFAULT ({BOMB}))", r"an expression in the table 'cats': 'DEFAULT \(hex"),
        (f"CREATE TABLE cats (name, CHECK (length({BOMB}) > name))", r"an expression in the table 'cats': 'CHECK \("),
        (f"CREATE INDEX cats ON trials (coalesce(number, {BOMB}))", "'CREATE INDEX cats ON .* as the index 'cats'"),
        ("CREATE INDEX cats ON trials (number) WHERE number > 1", "'CREATE INDEX cats ON .* as the index 'cats'"),
    ],
)
def test_expressions_are_refused(storage: Path, statement: str, message: str) -> None:
    refused(run_sql(storage, statement), rf"study\.db: found {message}.* expected only the tables of a study")


@pytest.mark.parametrize(
    "sql", ["CREATE VIRTUAL TABLE cats USING series(1)", "CREATE VIEW cats AS SELECT 1", "create/**/table cats (name)"]
)
def test_a_row_that_calls_something_else_a_table_is_refused(storage: Path, sql: str) -> None:
    run_sql(storage, "CREATE TABLE cats (name)")
    refused(forged(storage, "cats", sql), "study.db: found ('(?i:create).* as the table 'cats'|no SQLite database)")


def test_values_are_bounded_on_every_connection(storage: Path) -> None:
    backend = open_storage(storage)
    assert isinstance(backend, RDBStorage)
    for _ in range(2):
        with backend.engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA trusted_schema").scalar() == 0
            assert connection.exec_driver_sql("PRAGMA cell_size_check").scalar() == 1
            with pytest.raises(SQLAlchemyError, match="too big"):
                connection.exec_driver_sql(f"SELECT length(hex(zeroblob({MAX_VALUE_BYTES})))")
        backend.engine.dispose()


def test_pages_that_repeat_others_are_refused(storage: Path) -> None:
    """Such a page of pages makes a file of any size endless: here the first of the pages of `trials` comes again."""
    with closing(sqlite3.connect(storage)) as database:
        size = database.execute("PRAGMA page_size").fetchone()[0]
        rows = [(number, "RUNNING") for number in range(2000)]
        database.executemany("INSERT INTO trials (number, state) VALUES (?, ?)", rows)
        database.commit()
        root = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'trials'").fetchone()[0]
    data = bytearray(storage.read_bytes())
    start = (root - 1) * size
    assert data[start] == 5  # a page of pages
    cells = struct.unpack_from(f">{struct.unpack_from('>H', data, start + 3)[0]}H", data, start + 12)
    for cell in cells[1:]:
        data[start + cell : start + cell + 4] = data[start + cells[0] : start + cells[0] + 4]
    storage.write_bytes(data)
    refused(storage, r"study\.db: found a damaged SQLite database \(.*\), expected a study")


def test_what_optuna_writes_is_a_study_whatever_version_made_it(storage: Path, tmp_path: Path) -> None:
    assert check_sqlite(storage) >= {"studies", "trials", "trial_values", "alembic_version"}
    scripts = Path(optuna.storages.__file__).parent / "_rdb/alembic"
    config = alembic.config.Config()
    config.set_main_option("script_location", str(scripts))
    config.set_main_option("sqlalchemy.url", f"sqlite:///{tmp_path / 'old.db'}")
    for version in ("v0.9.0.a", "v2.4.0.a", "v3.0.0.c", "head"):
        alembic.command.upgrade(config, version)
        assert check_sqlite(tmp_path / "old.db") >= {"studies", "trials", "alembic_version"}
    constraints = "CHECK (state IN ('RUNNING', 'FAIL')), CONSTRAINT one CHECK (number=1)"  # of older SQLAlchemy
    run_sql(tmp_path / "old.db", f"CREATE TABLE cats (state VARCHAR(7) DEFAULT 'FAIL' NOT NULL, number, {constraints})")
    assert "cats" in check_sqlite(tmp_path / "old.db")


def test_addresses_that_hide_a_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match="found a URI of SQLite; expected the path of its file"):
        open_storage(f"sqlite:///file:{tmp_path}/study.db?uri=true")
    for opened in OPENED:
        with pytest.raises(SearchError):
            opened(tmp_path / ("a" * 5000))
