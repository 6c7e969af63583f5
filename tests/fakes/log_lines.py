"""Everything that is logged, as it would be written and in its raw parts."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from tokenstream import telemetry


class _LogLines(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(telemetry.logger.registered_formatter)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record) + logging.Formatter("%(message)s").format(record) + repr(record.__dict__))


@contextmanager
def log_lines() -> Iterator[list[str]]:
    """Give the lines, which grow while the context lasts."""
    handler = _LogLines()
    loggers = [logging.getLogger(), logging.getLogger(telemetry.SERVICE)]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield handler.lines
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
