"""What MiniStack's event source of a FIFO queue lacks, put into its process by `guarded_ministack`.

It runs one batch at a time, of whatever groups: one recipient who keeps `deliver` waiting would hold up everybody's
messages. On AWS as many run at once as there are groups, or as the source's `MaximumConcurrency` says. The order within
a group is kept all the same: MiniStack's queue gives out no message of a group that has one in flight.

What is replaced is looked up by name, so that a MiniStack that has it elsewhere doesn't start. This file imports
nothing of the stack: it runs where only MiniStack is installed.
"""

from collections.abc import Callable, Mapping
from typing import Any

Concurrency = Callable[[dict[str, Any], Any, Any, Mapping[str, Any] | None], int]
"""Event source, function, its configuration, queue → how many batches may be in flight."""


def as_of_a_standard_queue(concurrency: Concurrency) -> Concurrency:
    """Have a FIFO queue's batches counted as any other queue's."""

    def of_any_queue(
        source: dict[str, Any], function: Any, configuration: Any, _queue: Mapping[str, Any] | None = None
    ) -> int:
        return concurrency(source, function, configuration, None)

    return of_any_queue


def install() -> None:
    """Replace what is missing; raises where MiniStack is not as this module knows it."""
    from ministack.services import lambda_svc  # noqa: PLC0415 - there is no MiniStack where this is tested

    lambda_svc._sqs_esm_concurrency = as_of_a_standard_queue(lambda_svc._sqs_esm_concurrency)  # noqa: SLF001
