"""What goes wrong with a streamed response; the package's docstring draws the tree."""


class ResponseStreamError(Exception):
    """Base of every error that this package raises."""


class StreamingUnavailableError(ResponseStreamError):
    """There is no invocation whose response can be streamed."""


class ResponseStartedError(ResponseStreamError):
    """The invocation's response has started already; an invocation has one response."""


class StreamClosedError(ResponseStreamError):
    """The stream isn't open."""


class StreamNotClosedError(ResponseStreamError):
    """The handler returned without closing its stream, so the response may lack its end."""


class InvalidResponseError(ResponseStreamError):
    """Status, headers, cookies or body can't be sent as an HTTP response."""


class RuntimeApiError(ResponseStreamError):
    """The Runtime API did not accept the response."""
