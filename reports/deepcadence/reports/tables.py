"""The data of a figure as a table, and as CSV."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass

__all__ = ["Table"]

Cell = str | int | float | bool | None

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


@dataclass(frozen=True)
class Table:
    """Rows of plain values under the names of their columns."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def csv(self) -> str:
        """The table as CSV (RFC 4180), its first line the names of the columns.

        Numbers are written in full; None and nan are empty cells. Text that a spreadsheet would take for a formula,
        since it begins with =, +, -, @, a tab or a line end, gets an apostrophe in front.
        """
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(map(_plain, self.columns))
        writer.writerows(map(_plain, row) for row in self.rows)
        return text.getvalue()


def _plain(cell: Cell) -> Cell:
    if isinstance(cell, str):
        return f"'{cell}" if cell.startswith(_FORMULA) else cell
    return None if isinstance(cell, float) and math.isnan(cell) else cell
