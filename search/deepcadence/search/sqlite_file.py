"""SQLite files of others: refused if opening, reading or going on with them did more than use the tables of a study."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import stat
from pathlib import Path
from typing import Any

from deepcadence.schedules.fields import shortened
from deepcadence.search.errors import SearchError

LOCKED_SECONDS = 60
"""How long a file is waited for that another process writes."""

MAX_VALUE_BYTES = 64 * 2**20
"""The largest value, and the largest row, that SQLite may make or read: far above any record of a trial."""

_MAX_SCHEMA_STEPS = 1_000_000  # of SQLite's machine; the schema of a study takes some hundreds
_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")
_TABLES = "expected only the tables of a study"
_COLUMN = r'"?\w+"?'
_PLAIN_INDEX = re.compile(rf"CREATE (?:UNIQUE )?INDEX {_COLUMN} ON {_COLUMN} ?\({_COLUMN}(?:, ?{_COLUMN})*\)")
_PLAIN_CLAUSE = re.compile(  # those that Optuna and its migrations write, of any version
    rf"\bCHECK \({_COLUMN} ?(?:= ?\d+|IN \('\w+'(?:, ?'\w+')*\))\)|\bDEFAULT (?:'\w*'|-?\d+|NULL|CURRENT_TIMESTAMP)"
)
_EXPRESSION = re.compile(r"\b(?:CHECK|DEFAULT|GENERATED|AS)\b", re.IGNORECASE)


class Connection(sqlite3.Connection):
    """A connection that trusts nothing in its file: values are bounded, and what a file defines calls no function."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)
        self.execute("PRAGMA trusted_schema = OFF").close()
        self.execute("PRAGMA cell_size_check = ON").close()


def check_sqlite(file: Path) -> set[str]:
    """The names of the tables of an SQLite file, which may be new and hold none.

    Raises:
        SearchError: it is no SQLite database, its pages do not add up, it holds what would compute something (a view,
            a trigger, a virtual table, an expression), or its journal names another file.
    """
    check_beside(file)
    try:
        where = f"{file.absolute().as_uri()}?mode=rw"
        opened = sqlite3.connect(where, uri=True, timeout=LOCKED_SECONDS, factory=Connection)
        with contextlib.closing(opened) as database:
            rows = _schema(database)
            for row in rows:
                _check_object(file, *row)
            _check_columns(file, database)
            _check_pages(file, database)
    except (sqlite3.Error, ValueError) as error:
        if isinstance(error, SearchError):
            raise
        raise SearchError(f"{file}: found no SQLite database ({error}), expected a study") from error
    return {str(name) for kind, name, _ in rows if kind == "table"}


def check_beside(file: Path) -> None:
    """Raise `SearchError` if what lies beside an SQLite file would have SQLite touch any other file.

    An interrupted transaction leaves `FILE-journal`, which SQLite plays back and deletes; it does the same for a file
    that the journal's last bytes name, wherever that is (the super-journal of a transaction over several databases,
    which a study never writes). `FILE-wal` names nothing: what it holds is checked as the content that it becomes.
    """
    for suffix in ("-journal", "-wal", "-shm"):
        path = f"{os.path.realpath(file)}{suffix}"  # SQLite follows links before it looks for these
        try:
            if not stat.S_ISREG(os.lstat(path).st_mode):
                raise SearchError(f"{path}: found no regular file, expected what SQLite left there, or nothing")
            if suffix == "-journal" and _end(path) == _JOURNAL_MAGIC:
                raise SearchError(
                    f"{path}: found a journal that names another file, which SQLite would delete; expected the journal "
                    "of one database. Delete it if you do not know where it comes from"
                )
        except FileNotFoundError:  # as always but after a crash, or played back by another process just now
            continue
        except OSError as error:
            raise SearchError(f"{path}: cannot be read ({error.strerror}), expected what SQLite left there") from error


def _end(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123 - no `Path`, whose suffixes are others
        file.seek(max(0, os.fstat(file.fileno()).st_size - len(_JOURNAL_MAGIC)))
        return file.read()


def _schema(database: sqlite3.Connection) -> list[tuple[object, object, object]]:
    """Type, name and statement of all that the file defines; given up soon where its pages make that endless."""
    database.set_progress_handler(lambda: 1, _MAX_SCHEMA_STEPS)
    rows = database.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
    database.set_progress_handler(None, 0)
    return rows


def _check_object(file: Path, kind: object, name: object, sql: object) -> None:
    """Raise `SearchError` unless a row of the schema is a table of plain columns, or an index of them.

    The row's own word for what it is counts as little as the rest: SQLite goes by the statement.
    """
    text = sql if isinstance(sql, str) else ""
    if kind == "index" and (sql is None or _PLAIN_INDEX.fullmatch(text)):
        return
    if kind not in ("table", "index"):
        raise SearchError(f"{file}: found a {kind} {name!r}, {_TABLES}")
    if kind == "index" or not text.startswith("CREATE TABLE "):
        raise SearchError(f"{file}: found {shortened(text, 80)!r} as the {kind} {name!r}, {_TABLES}")
    rest = _PLAIN_CLAUSE.sub(" ", text)
    if found := _EXPRESSION.search(rest):
        clause = shortened(rest[found.start() :], 80)
        raise SearchError(f"{file}: found an expression in the table {name!r}: {clause!r}, {_TABLES}")


def _check_columns(file: Path, database: sqlite3.Connection) -> None:
    """Raise `SearchError` for a column that is generated or hidden, however its table was declared."""
    hidden = database.execute(
        "SELECT m.name, x.name FROM sqlite_master AS m, pragma_table_xinfo(m.name) AS x "
        "WHERE m.type = 'table' AND x.hidden != 0 LIMIT 1"
    ).fetchone()
    if hidden is not None:
        table, column = hidden
        raise SearchError(f"{file}: found a generated or hidden column {column!r} of the table {table!r}, {_TABLES}")


def _check_pages(file: Path, database: sqlite3.Connection) -> None:
    """Raise `SearchError` unless each page is used once: a page of others that repeats one makes endless rows."""
    (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        last = str(found).splitlines()[-1]
        raise SearchError(f"{file}: found a damaged SQLite database ({shortened(last, 200)}), expected a study")
