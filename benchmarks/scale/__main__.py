"""Prints the tables of docs/scale.md; `--write` puts them there, `--measured` compares the simulation."""

import sys
from pathlib import Path

from benchmarks.scale.tables import tables, with_tables

PAGE = Path(__file__).parents[2] / "docs" / "scale.md"

if "--write" in sys.argv[1:]:
    PAGE.write_text(with_tables(PAGE.read_text()))
elif "--measured" in sys.argv[1:]:
    # It starts processes, and what it streams to.
    from benchmarks.scale.measured import comparison

    sys.stdout.write(comparison())
else:
    sys.stdout.write("\n".join(f"{name}\n\n{table}" for name, table in tables().items()))
