"""What every way out has to do.

A sink joins with a class of its own:

    class TestWebSocketSink(FrameSinkContract):
        @pytest.fixture
        def client(self) -> Client:
            return WebSocketClient()
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Protocol

import pytest
from msgspec.json import decode

from tests.fakes.frames import SESSION, Attempt
from tokenstream.errors import ModelError
from tokenstream.frames import Sealed, Token
from tokenstream.sinks import ClientGone, Sink

AWKWARD_TEXT = (
    'NUL \x00, "quotes", \\, \r\n\n\u2028, data: x\n\nid: 9, 👩\u200d🚀, \u202e\u05e9\u05dc, $input, {{a}}, %s'
)


class Client(Protocol):
    """The far end of the sink under test, with what it has received up to now."""

    sink: Sink

    def text(self) -> str:
        """Return the answer's text as the client would show it."""
        ...

    def leave(self) -> None:
        """Go away, in the way in which the sink finds out about it."""
        ...


class FrameClient(Client, Protocol):
    """A client that gets frames."""

    def frames(self) -> list[bytes]:
        """Return the JSON of everything that was received, heartbeats included, in the order of its arrival."""
        ...


class SinkContract:
    """For every sink, one that gives nothing but the text included."""

    def test_the_text_arrives_to_the_character(self, client: Client) -> None:
        frames = Attempt()
        client.sink.send([frames.start(), frames.token(AWKWARD_TEXT)])
        client.sink.send([frames.token(" "), frames.reasoning("Hm"), frames.token("."), frames.complete()])
        assert client.text() == AWKWARD_TEXT + " ."

    def test_frames_have_left_when_send_returns(self, client: Client) -> None:
        frames = Attempt()
        client.sink.send([frames.start(), frames.token("a")])
        assert client.text() == "a"
        client.sink.send([frames.token("b")])
        assert client.text() == "ab"

    def test_a_heartbeat_adds_nothing_to_the_text(self, client: Client) -> None:
        frames = Attempt()
        client.sink.send([frames.start()])
        client.sink.heartbeat(SESSION)
        client.sink.send([frames.token("a")])
        client.sink.heartbeat(SESSION)
        client.sink.send([frames.token("b"), frames.complete()])
        assert client.text() == "ab"

    def test_the_longest_frame_that_it_admits_to_passes(self, client: Client) -> None:
        frames = Attempt()
        longest = longest_token(frames, client.sink.max_frame_bytes)
        assert len(longest.json) == client.sink.max_frame_bytes
        client.sink.send([longest])
        assert isinstance(longest.frame, Token)
        assert client.text() == longest.frame.token

    def test_a_client_that_has_left_is_reported(self, client: Client) -> None:
        frames = Attempt()
        client.sink.send([frames.start(), frames.token("a")])
        client.leave()
        with pytest.raises(ClientGone):
            client.sink.send([frames.token("b")])
        assert client.text() == "a"

    def test_a_client_that_has_left_is_reported_again_and_again(self, client: Client) -> None:
        """The stream runs on for a while: each frame and the end meet the same client."""
        frames = Attempt()
        client.sink.send([frames.start(), frames.token("a")])
        client.leave()
        for sealed in (frames.token("b"), frames.token("c"), frames.complete()):
            with pytest.raises(ClientGone):
                client.sink.send([sealed])

    def test_a_client_that_left_before_the_first_frame_is_reported(self, client: Client) -> None:
        frames = Attempt()
        client.leave()
        for sealed in ([frames.start(), frames.token("a")], [frames.token("b")], [frames.complete()]):
            with pytest.raises(ClientGone):
                client.sink.send(sealed)


class FrameSinkContract(SinkContract):
    """For the sinks that give frames."""

    def test_frames_arrive_byte_by_byte_as_they_were_sealed_once_and_in_order(self, client: FrameClient) -> None:
        frames = Attempt()
        sends = [
            [frames.start(), frames.reasoning("Hm")],
            [frames.token(AWKWARD_TEXT)],
            [frames.token(f"{number} ") for number in range(50)],
            [frames.token(""), frames.complete()],
        ]
        for send in sends:
            client.sink.send(send)
        assert client.frames() == [sealed.json for send in sends for sealed in send]

    def test_an_error_ends_the_answer_as_a_frame(self, client: FrameClient) -> None:
        frames = Attempt()
        client.sink.send([frames.start(), frames.token("a")])
        failed = frames.error(ModelError("The model failed.", retryable=True))
        client.sink.send([failed])
        assert client.frames()[-1] == failed.json

    def test_a_later_attempt_is_passed_on_as_such(self, client: FrameClient) -> None:
        first, second = Attempt(attempt=1), Attempt(attempt=2)
        sent = [first.start(), first.token("a"), *second.answer("b")]
        client.sink.send(sent)
        assert client.frames() == [sealed.json for sealed in sent]

    def test_a_heartbeat_is_outside_the_numbering(self, client: FrameClient) -> None:
        frames = Attempt()
        client.sink.send([frames.start()])
        client.sink.heartbeat(SESSION)
        client.sink.heartbeat(SESSION)
        client.sink.send([frames.token("a"), frames.complete()])
        received: list[Mapping[str, Any]] = [decode(json) for json in client.frames()]
        beats = [frame for frame in received if frame["type"] == "heartbeat"]
        # A way out with a keep-alive of its own (AppSync's `ka`) sends none.
        assert all(beat == {"type": "heartbeat", "sessionId": SESSION} for beat in beats)
        numbered = [frame["sequence"] for frame in received if frame["type"] != "heartbeat"]
        assert all(after == before + 1 for before, after in pairwise(numbered))
        assert len(numbered) == 3

    def test_a_client_that_has_left_is_missed_by_a_heartbeat_or_the_next_frame(self, client: FrameClient) -> None:
        frames = Attempt()
        client.sink.send([frames.start()])
        client.leave()
        with pytest.raises(ClientGone):  # noqa: PT012 - either call may find out
            client.sink.heartbeat(SESSION)
            client.sink.send([frames.token("a")])


def longest_token(frames: Attempt, max_bytes: int) -> Sealed:
    """Return a token frame of exactly so many bytes of JSON."""
    envelope = len(Attempt().token("").json)
    return frames.token("x" * (max_bytes - envelope))
