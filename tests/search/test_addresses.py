"""Addresses of databases in errors: without their passwords, also where they are none."""

from __future__ import annotations

import pytest

from deepcadence.search import SearchError
from deepcadence.search.addresses import shown
from deepcadence.search.storage import open_storage


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("study.db", "study.db"),
        ("sqlite:///study.db", "sqlite:///study.db"),
        ("postgresql://u@h:5432/db?sslmode=require", "postgresql://u@h:5432/db?sslmode=require"),
        ("postgresql://u:s3cret@h/db", "postgresql://u:***@h/db"),
        ("postgresql://h/db?user=u&password=s3cret", "postgresql://h/db?password=***&user=u"),
        ("mysql://h/db?PASSWD=s3cret&charset=utf8", "mysql://h/db?PASSWD=***&charset=utf8"),
        ("postgresql://h/db?sslpassword=s3cret", "postgresql://h/db?sslpassword=***"),
        (
            "x://h/db?pwd=s3cret&auth_token=s3cret&client_secret=s3cret",
            "x://h/db?auth_token=***&client_secret=***&pwd=***",
        ),
        ("postgresql://h/db?options=-c%20password%3Ds3cret", "postgresql://h/db?options=-c+password%3D***"),
        ("postgresql://u:s3cret@h:bad/db", "postgresql://u:***@h:bad/db"),
        ("postgresql://u:s3@cret@h:bad/db?password=s3cret", "postgresql://u:***@h:bad/db?password=***"),
        ("postgresql://u:s3/cret word@h:1,h2:bad/db", "postgresql://u:***@h:1,h2:bad/db"),
        ("postgresql://u:s3cret", "postgresql://u:***"),
        ("://u:s3cret@h/db", "://u:***@h/db"),
    ],
)
def test_passwords_are_not_shown(address: str, expected: str) -> None:
    assert shown(address) == expected


def test_very_long_addresses_take_no_time() -> None:
    assert len(shown("postgresql://u:s3cret@h" + 2_000_000 * "{pwd" + "/db")) == 200


@pytest.mark.parametrize(
    "address",
    [
        "postgresql+psycopg://u:s3cret@127.0.0.1:bad/db",
        "postgresql+psycopg://127.0.0.1:1/db?user=u&password=s3cret",
        "postgresql+psycopg://u:s3cret@127.0.0.1:1/db",
        "sqlite:////no/such/folder/study.db?password=s3cret",
        "postgresql+pg8000://u:s3cret@127.0.0.1:1/none?password=s3cret",
        "://u:s3cret@h",
    ],
)
def test_errors_name_a_database_without_its_password(address: str) -> None:
    with pytest.raises(SearchError) as caught:
        open_storage(address)
    assert "s3cret" not in str(caught.value)
