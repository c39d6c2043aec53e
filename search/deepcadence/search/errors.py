"""The error of the search."""

from __future__ import annotations

from deepcadence.schedules import DeepcadenceError


class SearchError(DeepcadenceError, ValueError):
    """A study, a measurement or a selection that cannot be done as asked."""
