"""Every cell of the support table holds, and the table has every cell."""

from __future__ import annotations

import pytest

from tests.schedules.conditions.families import Column
from tests.schedules.conditions.table import CELLS, cells, committed, outcome, table

REFRESH = "docs/support.md is not up to date; refresh it: python -m tests.schedules.conditions.table"


@pytest.mark.parametrize(("row", "column"), CELLS, ids=lambda part: getattr(part, "name", part))
def test_the_cell(row: str, column: Column) -> None:
    assert outcome(row, column) == cells(committed()).get((row, column.name)), REFRESH


def test_the_table_has_every_cell() -> None:
    found = cells(committed())
    assert list(found) == [(row, column.name) for row, column in CELLS], REFRESH
    assert table(found) == committed(), REFRESH
    assert set(found.values()) <= {"works", "refused", "-"}
