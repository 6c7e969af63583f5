"""The reader of responses, held to h11's."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tokenstream.http1 import MAX_HEAD_BYTES, MAX_HEADERS, ProtocolError, ResponseReader

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@dataclass(frozen=True)
class Answer:
    """A response as a reader gives it."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    reusable: bool


def read(*pieces: bytes) -> Answer:
    """Read a response from what is received, in these pieces; an empty one says that the connection was closed."""
    reader, head, body = ResponseReader(), None, b""
    for piece in pieces:
        reader.feed(piece)
        head = head or reader.head()
        if head is not None:
            body += reader.body()
    assert head is not None
    assert reader.ended
    return Answer(head.status, head.headers, body, reader.keeps_alive)


def read_by_h11(data: bytes, *, closed: bool) -> Answer:
    connection = h11.Connection(h11.CLIENT)
    request = h11.Request(method="POST", target="/", headers=[("Host", "localhost"), ("Content-Length", "0")])
    connection.send(request)
    connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    if closed:
        connection.receive_data(b"")
    head, body = None, b""
    while not isinstance(event := connection.next_event(), h11.EndOfMessage):
        match event:
            case h11.InformationalResponse():
                pass
            case h11.Response():
                head = event
            case h11.Data():
                body += bytes(event.data)
            case _:
                raise AssertionError(f"h11 doesn't take it: {event}")
    assert head is not None
    headers: dict[str, list[str]] = {}
    for name, value in head.headers:
        headers.setdefault(name.decode(), []).append(value.decode("latin-1"))
    reusable = connection.their_state is h11.DONE and connection.trailing_data == (b"", False)
    return Answer(head.status_code, {name: ", ".join(values) for name, values in headers.items()}, body, reusable)


@dataclass(frozen=True)
class Written:
    """The bytes of a response; those behind its head are `body`, which the connection's end may end."""

    head: bytes
    body: bytes
    ends_with_connection: bool

    @property
    def data(self) -> bytes:
        return self.head + self.body


header_names = st.sampled_from(["Content-Type", "x-amzn-RequestId", "Date", "X-Amzn-ErrorType", "Set-Cookie"])
header_values = st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_categories=["Cc"]), max_size=5)
headers = st.lists(
    st.builds(
        lambda name, before, value, behind: f"{name}:{before}{value}{behind}\r\n".encode("latin-1"),
        header_names,
        st.sampled_from(["", " ", " \t "]),
        st.builds(" ".join, st.lists(header_values, max_size=2)).map(str.strip),
        st.sampled_from(["", " "]),
    ),
    max_size=4,
)


@st.composite
def chunked(draw: st.DrawFn, pieces: Sequence[bytes]) -> bytes:
    """Write a body in chunks, as odd as the standard allows."""
    written = b""
    for piece in [*filter(None, pieces), b""]:
        size = draw(st.sampled_from(["%x", "%X", "00%x"])) % len(piece)
        extension = draw(st.sampled_from(["", ";name=value", '; name="a b" ', " "]))
        written += f"{size}{extension}\r\n".encode() + (piece + b"\r\n" if piece else b"")
    return written + b"".join(draw(st.lists(st.just(b"Trailer: x\r\n"), max_size=2))) + b"\r\n"


@st.composite
def responses(draw: st.DrawFn) -> Written:
    """Write a response to a POST."""
    informational = draw(
        st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n"])
    )
    version = draw(st.sampled_from([b"1.1", b"1.1", b"1.0"]))
    status = draw(st.sampled_from([b"200 OK", b"204 No Content", b"304 ", b"400 Bad Request", b"429 x y", b"503"]))
    connection = draw(st.sampled_from([b"", b"", b"Connection: close\r\n", b"connection: keep-alive\r\n"]))
    pieces = draw(st.lists(st.binary(max_size=40), max_size=4))
    body = b"".join(pieces)
    framing = draw(st.sampled_from(["length", "chunks", "connection"]))
    match framing:
        case "length":
            field = b"Content-Length: %d\r\n" % len(body)
        case "chunks":
            field, body = b"transfer-Encoding: chunked\r\n", draw(chunked(pieces))
        case _:
            field = b""
    fields = draw(st.permutations([*draw(headers), connection, field]))
    head = informational + b"HTTP/" + version + b" " + status + b"\r\n" + b"".join(fields) + b"\r\n"
    bodiless = status[:3] in {b"204", b"304"}
    return Written(head, b"" if bodiless else body, framing == "connection" and not bodiless)


def divided(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """Divide bytes at these places; none of the pieces is empty."""
    places = sorted({cut % len(data) for cut in cuts} - {0})
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


@given(
    response=responses(), cuts=st.lists(st.integers(0, 2000), max_size=8), behind=st.sampled_from([b"", b"", b"HTTP"])
)
def test_however_its_bytes_come_a_response_is_what_it_is_to_h11(
    response: Written, cuts: list[int], behind: bytes
) -> None:
    data = response.data + behind
    closing = [b""] if response.ends_with_connection else []
    expected = read_by_h11(data, closed=response.ends_with_connection)
    assert read(*divided(data, cuts), *closing) == expected
    assert read(*(bytes([each]) for each in data), *closing) == expected


@given(response=responses(), cut=st.integers(0, 2000), cuts=st.lists(st.integers(0, 2000), max_size=3))
def test_a_response_that_is_cut_anywhere_is_never_a_whole_one(response: Written, cut: int, cuts: list[int]) -> None:
    # A body that ends with its connection doesn't tell.
    whole = response.head if response.ends_with_connection else response.data
    left = whole[: cut % len(whole)]
    with pytest.raises(ProtocolError, match="broke off"):
        read(*(divided(left, cuts) if left else []), b"")


@given(response=responses(), place=st.integers(0, 2000), length=st.integers(0, 10), noise=st.binary(max_size=10))
@example(Written(OK, b"", ends_with_connection=False), len(OK), 0, b"Content-Length: " + b"9" * 5_000 + b"\r\n\r\n")
def test_whatever_a_response_holds_it_is_read_or_no_response(
    response: Written, place: int, length: int, noise: bytes
) -> None:
    """Another error would be taken for a fault of ours, and end the stream that the next try could save."""
    data = response.data
    place %= len(data) + 1
    with suppress(ProtocolError):
        read(data[:place] + noise + data[place + length :], b"")


@pytest.mark.parametrize("closed", ["with the response", "behind it"])
def test_a_connection_that_the_other_side_has_closed_is_not_used_again(closed: str) -> None:
    reader = ResponseReader()
    reader.feed(OK + b"Content-Length: 3\r\n\r\n" + b"one" * (closed == "behind it"))
    assert reader.head() is not None
    reader.body()
    if closed == "with the response":
        reader.feed(b"one")
        reader.feed(b"")
        assert reader.body() == b"one"
    else:
        assert reader.keeps_alive
        reader.feed(b"")
    assert reader.ended
    assert not reader.keeps_alive


HOSTILE = {
    "another protocol": b"ICY 200 OK\r\n\r\n",
    "another version": b"HTTP/2 200 OK\r\n\r\n",
    "a version to come": b"HTTP/1.2 200 OK\r\n\r\n",
    "a short status": b"HTTP/1.1 20 OK\r\n\r\n",
    "a long status": b"HTTP/1.1 2000 OK\r\n\r\n",
    "a status below all": b"HTTP/1.1 099 OK\r\n\r\n",
    "another protocol that was not asked for": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    "a line before the status": b"\r\n" + OK + b"\r\n",
    "a header without a colon": OK + b"Content-Length 3\r\n\r\none",
    "a header without a name": OK + b": 3\r\n\r\none",
    "a space behind a header's name": OK + b"Content-Length : 3\r\n\r\none",
    "a folded header": OK + b"X: x\r\n Content-Length: 3\r\n\r\none",
    "a header within another's value": OK + b"X: x\nContent-Length: 3\r\n\r\none",
    "a header behind half a line's end": OK + b"X: x\rContent-Length: 3\r\n\r\none",
    "a NUL": OK + b"X: \0\r\nContent-Length: 3\r\n\r\none",
    "a status that goes on behind a line's end": b"HTTP/1.1 200 OK\nX: x\r\nContent-Length: 3\r\n\r\none",
    "too many headers": OK + b"X: x\r\n" * (MAX_HEADERS + 1) + b"\r\n",
    "a head that is too long": OK + b"X: " + b"x" * MAX_HEAD_BYTES + b"\r\n\r\n",
    "a head without an end": OK + b"X: " + b"x" * MAX_HEAD_BYTES,
    **{
        f"the length {length[:20].decode('latin-1')!r}": OK + b"Content-Length: " + length + b"\r\n\r\none"
        for length in (b"", b"-1", b"+3", b"3.0", b"0x3", b"3 3", b"3, 4", b"\xb3", b"three", b"9" * 5_000)
    },
    "two lengths": OK + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\none",
    **{
        f"the coding {coding.decode()!r}": OK + b"Transfer-Encoding: " + coding + b"\r\n\r\n3\r\none\r\n0\r\n\r\n"
        for coding in (b"", b"gzip", b"gzip, chunked", b"chunked, chunked", b"identity")
    },
    **{
        f"a chunk of size {size[:20].decode()!r}": CHUNKED + size + b"\r\none\r\n0\r\n\r\n"
        for size in (b"", b"-3", b"+3", b"0x3", b"3 3", b" 3", b"g", b";3", b"3\n", b"000000003", b"3;" + b"x" * 5_000)
    },
    "a chunk that is longer than it says": CHUNKED + b"3\r\nones\r\n0\r\n\r\n",
    "a chunk's size that doesn't end": CHUNKED + b"3;" + b"x" * 5_000,
    "a trailer that doesn't end": CHUNKED + b"0\r\n" + b"x" * 5_000,
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_response_is_not_read_as_one(data: bytes) -> None:
    few = len(data) // 500 + 1
    for pieces in ([data], divided(data, range(0, len(data), few))):
        with pytest.raises(ProtocolError) as raised:
            read(*pieces, b"")
        # It is known from the bytes: nobody has to wait for the connection's end.
        assert "broke off" not in str(raised.value)
