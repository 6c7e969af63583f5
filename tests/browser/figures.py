"""What the browser tests measure, on its way to the terminal: also out of a worker of pytest-xdist."""

from collections.abc import Iterable
from typing import Any

PROPERTY = "figure"


def figures_in(reports: Iterable[Any]) -> list[str]:
    """Find the figures that tests have noted with `record_property(PROPERTY, …)`, each once."""
    noted = (figure for report in reports for figure in getattr(report, "user_properties", ()))
    return list(dict.fromkeys(str(value) for name, value in noted if name == PROPERTY))
