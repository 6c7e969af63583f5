"""The frames' JSON Schema, generated from the code: `python -m tokenstream.schema [--check] FILE`."""

import sys
from json import dumps
from pathlib import Path

from msgspec.json import schema_components

from tokenstream.frames import Frame, Heartbeat


def frames_schema() -> str:
    """Return the schema of everything that a client receives as a frame, as a JSON document."""
    (schema,), components = schema_components((Frame | Heartbeat,), ref_template="#/$defs/{name}")
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "tokenstream frame",
        **schema,
        "$defs": components,
    }
    return dumps(document, indent=2) + "\n"


def main(arguments: list[str]) -> int:
    """Write the schema to a file, or check that the file has it; returns the exit code."""
    check = arguments[:1] == ["--check"]
    path = Path(arguments[-1])
    if not check:
        path.write_text(frames_schema(), encoding="utf-8")
        return 0
    if path.read_text(encoding="utf-8") == frames_schema():
        return 0
    sys.stderr.write(f"{path} is out of date: run `make schema`\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
