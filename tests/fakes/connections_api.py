"""API Gateway's `@connections` on loopback: what each client's connection has received, with faults on request."""

from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from msgspec.json import decode

from tests.fakes.observed import Observed
from tests.integration.scripted_endpoint import Endpoint, Exchange, Script, refused, scripted_endpoint, status_line

STAGE = "/dev"
_ENOUGH = 100_000
"""Requests that a test may make."""


@dataclass(frozen=True)
class Fault:
    """What one request meets instead of success; `taken` says whether the client gets the message all the same."""

    script: Script
    taken: bool = False


def _hang_up(exchange: Exchange) -> None:
    exchange.hang_up()


THROTTLED = Fault(refused(429, "LimitExceededException"))
FORBIDDEN = Fault(refused(403, "ForbiddenException"))
BROKEN = Fault(refused(500, "InternalServerErrorException"))
NO_ANSWER = Fault(_hang_up)
LOST_ANSWER = Fault(_hang_up, taken=True)


class ConnectionsApi(Observed):
    """One stage. `before` is called with connection and message ahead of each answer, on the thread that gives it."""

    def __init__(self) -> None:
        super().__init__()
        self.endpoint = Endpoint([], None)
        self.before: Callable[[str, bytes], object] = lambda connection_id, message: None
        self._received: defaultdict[str, list[bytes]] = defaultdict(list)
        self._faults: defaultdict[str, deque[Fault]] = defaultdict(deque)
        self._lasting: dict[str, Fault] = {}
        self._closed: set[str] = set()

    @property
    def url(self) -> str:
        """The stage's address, as `WEBSOCKET_ENDPOINT` gives it."""
        return self.endpoint.url + STAGE

    def connections(self) -> list[str]:
        """Return the connections that have received anything."""
        with self.changed:
            return [connection_id for connection_id, messages in self._received.items() if messages]

    def raw(self, connection_id: str) -> list[bytes]:
        """Return the messages of a connection, to the byte."""
        with self.changed:
            return list(self._received[connection_id])

    def messages(self, connection_id: str) -> list[dict[str, Any]]:
        """Return the messages of a connection."""
        return [decode(message) for message in self.raw(connection_id)]

    def close(self, connection_id: str) -> None:
        """The client is gone."""
        with self.changed:
            self._closed.add(connection_id)

    def fails(self, connection_id: str, *faults: Fault) -> None:
        """Let the next requests for a connection meet faults, one each."""
        with self.changed:
            self._faults[connection_id].extend(faults)

    def always(self, connection_id: str, fault: Fault | None) -> None:
        """Let every request for a connection meet a fault, until this is called with None."""
        with self.changed:
            if fault is None:
                del self._lasting[connection_id]
            else:
                self._lasting[connection_id] = fault

    def await_messages(self, connection_id: str, condition: Callable[[list[dict[str, Any]]], bool]) -> None:
        """Wait until what a connection has received is as wanted."""
        self.wait_until(lambda: condition([decode(message) for message in self._received[connection_id]]))

    def await_requests(self, count: int) -> None:
        """Wait until so many requests have been answered."""
        self.wait_until(lambda: len(self.endpoint.requests) >= count)

    def serve(self, exchange: Exchange) -> None:
        """Answer a request."""
        received = exchange.received
        prefix = f"{STAGE}/@connections/"
        assert received.method == "POST"
        assert received.target.startswith(prefix)
        connection_id = unquote(received.target.removeprefix(prefix))
        self.before(connection_id, received.body)
        with self.changed:
            fault = self._fault(connection_id)
            if fault is None or fault.taken:
                self._received[connection_id].append(received.body)
            self.changed.notify_all()
        if fault is None:
            exchange.raw(status_line(200) + b"Content-Length: 0\r\n\r\n")
        else:
            fault.script(exchange)

    def _fault(self, connection_id: str) -> Fault | None:
        if connection_id in self._closed:
            return Fault(refused(410, "GoneException"))
        if self._faults[connection_id]:
            return self._faults[connection_id].popleft()
        return self._lasting.get(connection_id)


@contextmanager
def connections_api() -> Iterator[ConnectionsApi]:
    """Listen on a free port while the context lasts."""
    api = ConnectionsApi()
    with scripted_endpoint(*[api.serve] * _ENOUGH) as endpoint:
        api.endpoint = endpoint
        yield api
