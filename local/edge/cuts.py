"""Cuts clients' connections on request: what a train's tunnel does, for tests of resuming."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from aiohttp import web
from aiohttp.web_request import BaseRequest

MOUNTS = ("url", "rest")


@dataclass(eq=False, slots=True)
class Connection:
    """A client's connection while a response streams over it. `budget`: body bytes after which it is cut."""

    request: BaseRequest
    budget: int | None = None
    _sent: int = field(default=0, init=False)

    def cut(self) -> None:
        """Send what is written so far and close, without the body's end: the client sees an incomplete response."""
        if self.request.transport:
            self.request.transport.close()

    def admit(self, chunk: bytes) -> tuple[bytes, bool]:
        """Give what of the chunk still goes out, and whether the connection is then to be cut."""
        if self.budget is None:
            return chunk, False
        admitted = chunk[: self.budget - self._sent]
        self._sent += len(admitted)
        return admitted, self._sent >= self.budget


class Cuts:
    """`POST /_control/cut` with `{"path": "url" | "rest", "afterBytes": n}`.

    Without `afterBytes` every connection that streams on that path now is cut; with it the next response's, once so
    many bytes of its body are out. Answers `{"cut": how many were cut at once}`. The function isn't told, as on AWS.
    """

    def __init__(self) -> None:
        self._open: defaultdict[str, set[Connection]] = defaultdict(set)
        self._orders: defaultdict[str, list[int]] = defaultdict(list)

    @contextmanager
    def connection(self, mount: str, request: BaseRequest) -> Iterator[Connection]:
        """Register a response for as long as it streams; it takes the oldest order that waits."""
        orders = self._orders[mount]
        connection = Connection(request, orders.pop(0) if orders else None)
        self._open[mount].add(connection)
        try:
            yield connection
        finally:
            self._open[mount].discard(connection)

    async def handle(self, request: web.Request) -> web.Response:
        """Answer the control request."""
        try:
            # A page in a browser can't send this type to another origin without asking first.
            order = await request.json() if request.content_type == "application/json" else None
        except ValueError:
            order = None
        match order:
            case {"path": ("url" | "rest") as path, "afterBytes": int(count), **rest} if count >= 0 and not rest:
                self._orders[path].append(count)
                return web.json_response({"cut": 0})
            case {"path": ("url" | "rest") as path, **rest} if not rest:
                connections = list(self._open[path])
                for connection in connections:
                    connection.cut()
                return web.json_response({"cut": len(connections)})
        return web.json_response({"message": f"expected path ({' or '.join(MOUNTS)}), afterBytes"}, status=400)

    def streaming(self) -> Counter[str]:
        """How many responses stream on each path."""
        return Counter({mount: len(self._open[mount]) for mount in MOUNTS})
