"""The signer, held to botocore's."""

from collections.abc import Mapping
from dataclasses import dataclass
from time import gmtime, strftime
from typing import Any
from urllib.parse import quote

import h11
import pytest
from botocore.auth import SIGNED_HEADERS_BLACKLIST, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from hypothesis import given
from hypothesis import strategies as st

from tokenstream.sigv4 import Signer

SERVICE, REGION, HOST = "execute-api", "eu-west-1", "abc.execute-api.eu-west-1.amazonaws.com"
MIDNIGHT = 1_763_683_200  # between 20 and 21 November 2025
SET = {"host", "content-length", "authorization", "x-amz-date", "x-amz-security-token"}
NOT_SIGNED = SET.union(SIGNED_HEADERS_BLACKLIST)
"""What botocore sets itself, or leaves out."""
VISIBLE = st.characters(min_codepoint=0x21, max_codepoint=0x7E)


@dataclass(frozen=True)
class Request:
    """A request to sign, with the keys and at the time of the moment."""

    keys: ReadOnlyCredentials
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    now: float


keys = st.builds(
    ReadOnlyCredentials,
    st.sampled_from(["AKIDEXAMPLE", "ASIAEXAMPLE"]),
    st.text(VISIBLE, min_size=1, max_size=40),
    st.none() | st.text(VISIBLE, min_size=1, max_size=40),
)
segments = st.text(min_size=1, max_size=6).map(lambda text: quote(text, safe="", errors="replace"))
# Without dot segments, as it says.
paths = st.lists(segments.filter(lambda segment: segment not in {".", ".."}), max_size=3).map(
    lambda segments: "/" + "/".join(segments)
)
names = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,20}", fullmatch=True)
values = st.lists(st.text(VISIBLE, min_size=1, max_size=5), max_size=3).map("  ".join)
times = st.floats(-2, 2).map(lambda seconds: MIDNIGHT + seconds) | st.floats(0, 4_102_444_800)
requests = st.builds(
    Request,
    keys,
    st.sampled_from(["POST", "GET"]),
    paths,
    st.dictionaries(names.filter(lambda name: name.lower() not in NOT_SIGNED), values, max_size=4).filter(
        lambda headers: len({name.lower() for name in headers}) == len(headers)
    ),
    st.binary(max_size=100),
    times,
)


def received(head: bytes, body: bytes) -> tuple[str, str, list[tuple[str, str]], bytes]:
    """Read a request as a server does."""
    server = h11.Connection(h11.SERVER)
    server.receive_data(head + body)
    request = server.next_event()
    assert isinstance(request, h11.Request)
    data = b""
    while isinstance(event := server.next_event(), h11.Data):
        data += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage)
    assert server.trailing_data == (b"", False)
    fields = [(name.decode(), value.decode()) for name, value in request.headers]
    return request.method.decode(), request.target.decode(), fields, data


def signed_by_botocore(request: Request) -> dict[str, str]:
    """Return the headers that botocore's signer adds at that time."""
    theirs = AWSRequest(request.method, f"https://{HOST}{request.path}", dict(request.headers), request.body)
    theirs.context["timestamp"] = strftime("%Y%m%dT%H%M%SZ", gmtime(request.now))
    auth: Any = SigV4Auth(request.keys, SERVICE, REGION)
    auth._modify_request_before_signing(theirs)
    signature = auth.signature(auth.string_to_sign(theirs, auth.canonical_request(theirs)), theirs)
    auth._inject_signature_to_request(theirs, signature)
    return {name.lower(): value for name, value in theirs.headers.items()}


@given(requests=st.lists(requests, min_size=1, max_size=4))
def test_each_request_of_a_connection_is_signed_as_the_sdk_would(requests: list[Request]) -> None:
    """One after the other, with keys that change and from one day to the next: nothing of an earlier one is left."""
    signer = Signer(SERVICE, REGION, HOST)
    # Twice, and with the same path and headers again for the next one: what is kept is used.
    for request in [*requests, *requests]:
        head = signer.head(request.keys, request.method, request.path, request.headers, request.body, request.now)
        method, target, fields, body = received(head, request.body)
        assert (method, target, body) == (request.method, request.path, request.body)
        expected = signed_by_botocore(request) | {"host": HOST, "content-length": str(len(request.body))}
        assert sorted(fields) == sorted(expected.items())


@given(first=requests, second=requests)
def test_a_signature_is_none_for_another_moment_body_or_key(first: Request, second: Request) -> None:
    signer = Signer(SERVICE, REGION, HOST)

    def signature(of: Request) -> bytes:
        head = signer.head(of.keys, first.method, first.path, first.headers, of.body, of.now)
        return head.rpartition(b"Signature=")[2]

    same = (first.keys[1:], first.body, int(first.now)) == (second.keys[1:], second.body, int(second.now))
    assert (signature(first) == signature(second)) is same


@pytest.mark.parametrize("breaking", ["\r\nX: x", "\n", "\r", "\0"], ids=repr)
@pytest.mark.parametrize("part", ["method", "path", "name", "value", "token"])
def test_nothing_that_a_request_is_made_of_can_split_it(part: str, breaking: str) -> None:
    parts = {"method": "POST", "path": "/", "name": "Content-Type", "value": "text/plain", "token": "token"}
    parts[part] += breaking
    keys = ReadOnlyCredentials("AKIDEXAMPLE", "secret", parts["token"])
    with pytest.raises(ValueError, match="split the request"):
        Signer(SERVICE, REGION, HOST).head(
            keys, parts["method"], parts["path"], {parts["name"]: parts["value"]}, b"", MIDNIGHT
        )
