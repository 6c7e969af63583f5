"""A function as Lambda starts it: its `app.py`, loaded anew, with its folder in the path and its own environment.

The functions' modules are all called `app` and read the environment when they are loaded. What lies beside them is
loaded once, so no two functions may have modules of one name there.
"""

import sys
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import uuid4

_FUNCTIONS = Path(__file__).parents[1] / "functions"


def load_function(name: str, **environment: str) -> Any:
    """Load the function in `functions/<name>`; raises what a cold start would."""
    folder = _FUNCTIONS / name
    spec = spec_from_file_location(f"{name}_{uuid4().hex}", folder / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    with (
        patch.dict("os.environ", {"AWS_REGION": "us-east-1", **environment}),
        patch.object(sys, "path", [str(folder), *sys.path]),
    ):
        spec.loader.exec_module(module)
    return module


@dataclass
class Context:
    """Lambda's."""

    aws_request_id: str = "request"
    function_name: str = "function"
    function_version: str = "$LATEST"
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:123456789012:function:function"
    memory_limit_in_mb: int = 512
    seconds_left: float = 60.0

    def get_remaining_time_in_millis(self) -> int:
        return int(self.seconds_left * 1000)
