"""Breaks the direct ways to the clients on request, `@connections` and `publishToken`, for tests of what is behind."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, TypeAlias

from aiohttp import web

DirectPath: TypeAlias = Literal["websocket", "appsync"]
_PATHS: tuple[DirectPath, ...] = DirectPath.__args__  # type: ignore[attr-defined]  # a Literal has them


class Fault(StrEnum):
    """How a call fails: a 500; no answer at all; a 429; a 403. Each as the service words it."""

    ERROR = "error"
    TIMEOUT = "timeout"
    THROTTLE = "throttle"
    REFUSE = "refuse"


class OrderError(ValueError):
    """The order can't be carried out; the message is for the one who gave it."""


@dataclass(slots=True)
class _Order:
    """`after`: calls that pass before; `count`: calls that then fail, None for all."""

    fault: Fault
    after: int
    count: int | None


@dataclass(slots=True)
class _Calls:
    made: int = 0
    failed: int = 0


class DirectFaults:
    """`POST /_control/faults` with `{"path": "websocket" | "appsync", "fault": "error" | "timeout" | …}`.

    Until it is healed, by an order without a fault, the path fails for every function that sends on it. `"function"`,
    its folder's name, makes it that one's alone, and such an order goes before the path's; healing without it heals all
    of the path. `"after": n` lets n more calls pass, `"count": n` heals it after n failed ones: a stream that takes
    several calls breaks at an exact place.

    `GET /_control/faults`, and each order's answer, tell what is broken, with what is left of the numbers, and each
    function's calls since the start: `{"faults": […], "calls": {path: {function: {"made", "failed"}}}}`.

    `senders` are the functions that send on a path.
    """

    def __init__(self, senders: Mapping[DirectPath, Collection[str]]) -> None:
        self._orders: dict[tuple[DirectPath, str | None], _Order] = {}
        self._calls = {path: {name: _Calls() for name in sorted(senders.get(path, ()))} for path in _PATHS}

    def senders(self, path: DirectPath) -> Collection[str]:
        """Give the functions that send on a path."""
        return self._calls[path].keys()

    def meet(self, path: DirectPath, function: str) -> Fault | None:
        """Count a function's call; give the fault that it meets."""
        calls = self._calls[path][function]
        calls.made += 1
        key = (path, function) if (path, function) in self._orders else (path, None)
        order = self._orders.get(key)
        if not order:
            return None
        if order.after:
            order.after -= 1
            return None
        if order.count is not None:
            order.count -= 1
            if not order.count:
                del self._orders[key]
        calls.failed += 1
        return order.fault

    async def give_order(self, request: web.Request) -> web.Response:
        """Answer the control request that breaks or heals."""
        try:
            # A page in a browser can't send this type to another origin without asking first.
            document = await request.json() if request.content_type == "application/json" else None
            self.take(document)
        except ValueError as error:  # no JSON, or an OrderError
            return web.json_response({"message": str(error)}, status=400)
        return web.json_response(self.to_json())

    async def show(self, _request: web.Request) -> web.Response:
        """Answer the control request that asks."""
        return web.json_response(self.to_json())

    def take(self, document: object) -> None:
        """Carry out an order; raises `OrderError`."""
        match document:
            case {"path": ("websocket" | "appsync") as path, **rest} if rest.keys() <= {
                "fault",
                "function",
                "after",
                "count",
            }:
                pass
            case _:
                raise OrderError("expected path (websocket or appsync), and of fault, function, after, count any")
        function = rest.get("function")
        if function is not None and not (isinstance(function, str) and function in self._calls[path]):
            raise OrderError(f"function is none that sends on {path}: {', '.join(self._calls[path]) or 'none does'}")
        if rest.get("fault") is None:
            if rest.keys() & {"after", "count"}:
                raise OrderError("after and count are of a fault")
            for key in [key for key in self._orders if key[0] == path and function in {None, key[1]}]:
                del self._orders[key]
            return
        after, count = rest.get("after", 0), rest.get("count")
        if type(after) is not int or after < 0:
            raise OrderError("after is a number of calls, 0 or more")
        if count is not None and (type(count) is not int or count < 1):
            raise OrderError("count is a number of calls, 1 or more")
        try:
            fault = Fault(str(rest["fault"]))
        except ValueError:
            raise OrderError(f"fault is none of {', '.join(Fault)}") from None
        self._orders[path, function] = _Order(fault, after, count)

    def to_json(self) -> dict[str, Any]:
        """Tell what is broken and who has called."""
        return {
            "faults": [
                {"path": path, "function": function, "fault": order.fault, "after": order.after, "count": order.count}
                for (path, function), order in self._orders.items()
            ],
            "calls": {
                path: {name: {"made": calls.made, "failed": calls.failed} for name, calls in functions.items()}
                for path, functions in self._calls.items()
            },
        }
