"""CORS as Lambda does it for a function URL: it answers preflights and puts the headers on every other response.

Source: Lambda API reference, "Cors".
"""

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from local.edge.request import ReceivedRequest


@dataclass(frozen=True, slots=True)
class UrlCors:
    """A function URL's CORS settings."""

    origins: tuple[str, ...]
    methods: tuple[str, ...]
    headers: tuple[str, ...]
    exposed: tuple[str, ...]
    max_age: int | None
    credentials: bool

    @classmethod
    def read(cls, settings: Mapping[str, Any]) -> "UrlCors":
        """From `FunctionUrlConfig`'s `Cors`."""
        return cls(
            origins=tuple(settings.get("AllowOrigins", ())),
            methods=tuple(settings.get("AllowMethods", ())),
            headers=tuple(settings.get("AllowHeaders", ())),
            exposed=tuple(settings.get("ExposeHeaders", ())),
            max_age=settings.get("MaxAge"),
            credentials=bool(settings.get("AllowCredentials")),
        )

    def preflight(self, request: ReceivedRequest) -> dict[str, str] | None:
        """Make the headers that answer a preflight, none for a foreign origin; None when it isn't a preflight."""
        if request.method != "OPTIONS" or not request.header("Access-Control-Request-Method"):
            return None
        if not (allowed := self._allowed(request)):
            return {}
        return {
            **allowed,
            "Access-Control-Allow-Methods": ",".join(self.methods),
            "Access-Control-Allow-Headers": ",".join(self.headers),
            **({} if self.max_age is None else {"Access-Control-Max-Age": str(self.max_age)}),
        }

    def apply(self, request: ReceivedRequest, headers: MutableMapping[str, str]) -> None:
        """Put the settings' headers on a response, in place of the function's own."""
        for name in [name for name in headers if name.lower().startswith("access-control-")]:
            headers.pop(name, None)
        if allowed := self._allowed(request):
            headers.update(allowed)
            if self.exposed:
                headers["Access-Control-Expose-Headers"] = ",".join(self.exposed)

    def _allowed(self, request: ReceivedRequest) -> dict[str, str]:
        origin = request.header("Origin")
        if not origin or not ("*" in self.origins or origin in self.origins):
            return {}
        allowed = {"Access-Control-Allow-Origin": "*" if "*" in self.origins and not self.credentials else origin}
        if self.credentials:
            allowed["Access-Control-Allow-Credentials"] = "true"
        if allowed["Access-Control-Allow-Origin"] != "*":
            allowed["Vary"] = "Origin"
        return allowed
