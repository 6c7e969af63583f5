"""One line a request: method, path without query, status, bytes, seconds. Never a header or a body."""

import logging
from collections.abc import Callable

from aiohttp.abc import AbstractAccessLogger
from aiohttp.web import StreamResponse
from aiohttp.web_request import BaseRequest

from local.edge.request import BODY_BYTES, LOG_NOTE


def access_logger(write: Callable[[str], None]) -> type[AbstractAccessLogger]:
    """Make the class that aiohttp makes its access logger of."""

    class EdgeAccessLogger(AbstractAccessLogger):
        def __init__(self, logger: logging.Logger, log_format: str) -> None:
            super().__init__(logger, log_format)

        def log(self, request: BaseRequest, response: StreamResponse, time: float) -> None:
            size = request.get(BODY_BYTES, response.content_length or 0)
            note = f" ({request[LOG_NOTE]})" if LOG_NOTE in request else ""
            write(f"{request.method} {request.path} {response.status} {size} B {time:.2f} s{note}")

    return EdgeAccessLogger
