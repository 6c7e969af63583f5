"""The invocation that this process is working on, and its one response."""

from dataclasses import dataclass
from typing import ClassVar

from tokenstream.runtime.errors import ResponseStartedError
from tokenstream.runtime.post import StreamedPost


@dataclass(eq=False)
class Invocation:
    """One invocation; ``response`` is None until a streamed response to it has started."""

    api: str
    request_id: str
    invocation_id: str | None
    response: StreamedPost | None = None

    current: ClassVar["Invocation | None"] = None
    """A runtime process works on one invocation at a time. Not a context variable: writers may run in threads."""

    def start_response(self, prelude: bytes) -> StreamedPost:
        """Post the response's head. From here on ``/error`` is no longer legal."""
        if self.response is not None:
            raise ResponseStartedError("the response to this invocation has started already")
        self.response = StreamedPost(self.api, self.request_id, self.invocation_id, prelude)
        return self.response
