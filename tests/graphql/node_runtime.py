"""One handler of a resolver in Node, for what MiniStack can't run."""

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.graphql.emulated_api import GRAPHQL

_RUN = Path(__file__).with_name("run_resolver.mjs")


def run_resolver(name: str, handler: str, context: dict[str, Any]) -> dict[str, Any]:
    """Run it; gives `value` or `error`, and the `filters` that it has set."""
    result = subprocess.run(  # noqa: S603 - this project's own
        ["node", _RUN, GRAPHQL / "resolvers" / f"{name}.js", handler],  # noqa: S607 - wherever Node is
        input=json.dumps(context),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer
