"""Has the emulator run a forwarder in each function's place: the function itself runs in the stack's Lambda service.

There it has the real Runtime API, its own log, its own time-out, and counts with the next request when it is edited;
MiniStack would run it in its own interpreter. Everything around the function (routes, authorizer, asynchronous
invocations, destinations) stays MiniStack's.
"""

import io
import json
import zipfile
from collections.abc import Iterable
from dataclasses import asdict
from math import ceil
from pathlib import Path

from local.cloud.clients import AwsClients
from local.functions import forwarder
from local.functions.config import FunctionConfig
from local.functions.invoke_api import InvokeTarget

_SOURCE = Path(forwarder.__file__)
_MARGIN_SECONDS = 90
"""Beyond the function's own timeout, which the stack enforces; starting its process may take a minute besides."""


def forward(aws: AwsClients, functions: Iterable[FunctionConfig], target: InvokeTarget) -> None:
    """Put the forwarder in place of these functions' code. Environment and asynchronous settings stay. Blocks."""
    package = _package(target)
    client = aws("lambda")
    for function in functions:
        client.update_function_code(FunctionName=function.name, ZipFile=package)
        client.update_function_configuration(
            FunctionName=function.name,
            Handler=f"{_SOURCE.stem}.{forwarder.handler.__name__}",
            Layers=[],
            Timeout=ceil(function.timeout) + _MARGIN_SECONDS,
        )


def _package(target: InvokeTarget) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as package:
        package.write(_SOURCE, _SOURCE.name)
        package.writestr("forward.json", json.dumps(asdict(target)))
        # MiniStack imports botocore into each worker, which takes most of its start and of its memory, and goes without
        # where that can't be imported. A forwarder doesn't need it; there may be one for each stream.
        package.writestr("botocore/__init__.py", "")
    return buffer.getvalue()
