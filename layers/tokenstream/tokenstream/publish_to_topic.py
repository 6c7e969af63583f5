"""Publishes to an SNS FIFO topic.

Source: Amazon SNS API reference, Publish, whose answers are XML; SNS developer guide, "FIFO topics".
"""

import logging
import re
from collections.abc import Callable
from http import HTTPStatus
from random import random
from urllib.parse import quote_from_bytes

from tokenstream.retries import BUDGET_SECONDS, Retries, TryAgain, post
from tokenstream.signing import SignedConnection
from tokenstream.sinks import Refused

MAX_MESSAGE_BYTES = 256 * 1024
"""Source: Amazon SNS quotas."""

# Of an answer of a few hundred bytes that a service of AWS has made, a parser would find no more.
_CODE = re.compile(rb"<Code>(\w+)</Code>")

_THROTTLED = frozenset({"Throttling", "Throttled", "ThrottlingException", "KMSThrottling", "RequestLimitExceeded"})

_PERCENT = {byte: quote_from_bytes(bytes([byte]), safe="") for byte in range(256)}

_logger = logging.getLogger(__name__)


class PublishToTopic:
    """Publishes over one kept-alive connection to SNS.

    `connect` gives the signed connection to its host. Times are seconds; `wait` lets some pass, `jitter` gives a number
    from 0 to 1.
    """

    def __init__(
        self,
        connect: Callable[[], SignedConnection],
        topic: str,
        *,
        clock: Callable[[], float],
        wait: Callable[[float], None],
        jitter: Callable[[], float] = random,
    ) -> None:
        self._http = connect()
        self._topic = _encoded(topic)
        self._retries = Retries(clock=clock, wait=wait, jitter=jitter)

    def __call__(self, group: str, deduplication_id: str, message: str, *, patient: bool = True) -> None:
        """Publish a message: in order within its group, once per id within five minutes.

        Raises `DeliveryFailed`: within its budget of time where the caller is patient, else with the first try.
        """
        body = (
            f"Action=Publish&Version=2010-03-31&TopicArn={self._topic}&MessageGroupId={_encoded(group)}"
            f"&MessageDeduplicationId={_encoded(deduplication_id)}&Message={_encoded(message)}"
        ).encode()
        ids = {"session_id": group}
        self._retries.run(lambda: self._post(body, ids), BUDGET_SECONDS if patient else 0, ids)

    def close(self) -> None:
        """Close the connection to SNS."""
        self._http.close()

    def _post(self, body: bytes, ids: dict[str, str]) -> None:
        response, answer = post(self._http, "/", body, "application/x-www-form-urlencoded")
        if response.status == HTTPStatus.OK:
            return
        found = _CODE.search(answer)
        code = found[1].decode() if found else "none"
        if code in _THROTTLED:
            raise TryAgain(f"error {code}")
        _logger.error("frames refused by the topic", extra={**ids, "status": response.status, "reason": code})
        raise Refused(f"status {response.status}, error {code}")


def _encoded(text: str) -> str:
    # A byte a character, so that one table serves: half the time that `urllib.parse.quote` takes.
    return text.encode().decode("latin-1").translate(_PERCENT)
