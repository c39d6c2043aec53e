"""The data of a figure as a table, and as CSV."""

from __future__ import annotations

import csv
import io
import math
import re
import unicodedata
from dataclasses import dataclass

from deepcadence.reports._words import legal

__all__ = ["Table"]

Cell = str | int | float | bool | None

_SIGNS = ("=", "+", "-", "@", "\u2212")
_ENDS = re.compile(r"([;\t\r\n])")
"""What ends a cell for a spreadsheet that was told so, or that guesses."""
_UNSEEN = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Me", "Mn", "Zl", "Zp", "Zs"})
_BLANK = frozenset("\"'\u115f\u1160\u2800\u3164\uffa0")
"""Categories of characters, and further ones, that may go unseen before a sign: quotes do in a cell."""


@dataclass(frozen=True)
class Table:
    """Rows of plain values under the names of their columns."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def csv(self) -> str:
        """The table as CSV (RFC 4180), its first line the names of the columns.

        Numbers are written in full; None and nan are empty cells. Text that a spreadsheet may take for a formula gets
        an apostrophe in front: what begins with =, +, -, @ (full-width ones and those after blanks as well), a tab or a
        line end. So does what begins with such a sign inside a text, after a semicolon, a tab or a line end. Control
        characters are replaced.
        """
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(map(_plain, self.columns))
        writer.writerows(map(_plain, row) for row in self.rows)
        return text.getvalue()


def _plain(cell: Cell) -> Cell:
    if isinstance(cell, str):
        text = "".join(f"'{part}" if _is_formula(part) else part for part in _ENDS.split(legal(cell)))
        return f"'{text}" if text.startswith(("\t", "\r", "\n")) else text
    return None if isinstance(cell, float) and math.isnan(cell) else cell


def _is_formula(text: str) -> bool:
    """Whether the first character that is seen is a sign, be it a full-width or a small one."""
    seen = (each for each in text if each not in _BLANK and unicodedata.category(each) not in _UNSEEN)
    return unicodedata.normalize("NFKC", next(seen, "")).startswith(_SIGNS)
