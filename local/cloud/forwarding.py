"""Has the emulator hand each function's events over to the stack: the function itself runs in its Lambda service.

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

from local.cloud.clients import AwsClients
from local.cloud.ministack_functions import HANDLER, TARGET
from local.functions.config import FunctionConfig
from local.functions.invoke_api import InvokeTarget

_MARGIN_SECONDS = 90
"""Beyond the function's own timeout, which the stack enforces; starting its process may take a minute besides."""


def forward(aws: AwsClients, functions: Iterable[FunctionConfig], target: InvokeTarget) -> None:
    """Put the target in place of these functions' code. Environment and asynchronous settings stay. Blocks."""
    code = package(target)
    client = aws("lambda")
    for function in functions:
        client.update_function_code(FunctionName=function.name, ZipFile=code)
        client.update_function_configuration(
            FunctionName=function.name,
            Handler=HANDLER,
            Layers=[],
            Timeout=ceil(function.timeout) + _MARGIN_SECONDS,
        )


def package(target: InvokeTarget) -> bytes:
    """Make what the emulator has in place of a function's code."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(TARGET, json.dumps(asdict(target)))
    return buffer.getvalue()
