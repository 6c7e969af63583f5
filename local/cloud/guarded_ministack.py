"""MiniStack behind a guard, run by the interpreter of its own environment: `python -P guarded_ministack.py`.

MiniStack lets every web page call it (CORS for all) and asks for no credentials; whoever may create and invoke a
function runs code on this machine. A page that a browser has open anywhere would do. So nothing is answered that a page
of another host asks for, or that came under another name than the loopback interface's (DNS rebinding).

This file imports nothing of the stack: it runs where only MiniStack is installed.
"""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def is_loopback(host: str | None) -> bool:
    """Tell whether a name, without its port, can only mean this machine."""
    return host is not None and (host in _LOOPBACK or host.endswith(".localhost"))


def is_allowed(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Tell whether a request came to the loopback interface, and from no page of another host."""
    values = {name.lower(): value.decode("latin-1") for name, value in headers}
    origin = values.get(b"origin")
    return is_loopback(urlsplit(f"//{values.get(b'host', '')}").hostname) and (
        origin is None or is_loopback(urlsplit(origin).hostname)
    )


def guarded(application: Application) -> Application:
    """Refuse what isn't allowed with a 403, before the application sees it."""

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or is_allowed(scope["headers"]):
            await application(scope, receive, send)
        elif scope["type"] == "http":
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
            await send(
                {"type": "http.response.body", "body": b"Only this machine's own programs and pages may call.\n"}
            )
        else:
            await send({"type": "websocket.close", "code": 1008})

    return guard


def load_beside(name: str) -> ModuleType:
    """Load a module of this folder, which is not in the path: others of its names are other packages' too."""
    spec = spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(name=name)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    import ministack.app

    for part in ("ministack_appsync", "ministack_functions", "ministack_queues", "ministack_workflows"):
        load_beside(part).install()
    ministack.app.app = guarded(ministack.app.app)
    ministack.app.main()
