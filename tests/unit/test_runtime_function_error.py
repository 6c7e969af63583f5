import base64
import json
from typing import Any

import pytest
from awslambdaric.lambda_runtime_exception import FaultException

from tokenstream.runtime.function_error import BODY_HEADER, MAX_TRAILER_BYTES, TYPE_HEADER, describe, encode_trailers


def error(**changes: Any) -> dict[str, Any]:
    return {"errorMessage": "m", "errorType": "T", "requestId": "r", "stackTrace": ["outer\n", "inner\n"], **changes}


def decoded(trailers: bytes) -> tuple[str, Any]:
    first, second, *end = trailers.decode().split("\r\n")
    assert end == ["", ""]
    body = base64.b64decode(second.removeprefix(f"{BODY_HEADER}: "))
    return first.removeprefix(f"{TYPE_HEADER}: "), json.loads(body)


def test_trailers_carry_the_error_whole() -> None:
    assert decoded(encode_trailers(error())) == ("T", error())


@pytest.mark.parametrize(
    "described",
    [
        error(stackTrace=[f"frame {i} " + "x" * 100 for i in range(1000)]),
        error(errorMessage="m" * 100_000),
        error(errorMessage="é" * 100_000, stackTrace=["x" * 50_000]),
        error(errorType="T" * 100_000),
    ],
)
def test_trailers_never_exceed_what_the_runtime_api_takes(described: dict[str, Any]) -> None:
    trailers = encode_trailers(described)
    assert MAX_TRAILER_BYTES // 8 < len(trailers) <= MAX_TRAILER_BYTES
    error_type, body = decoded(trailers)
    assert body["errorType"][:3] == error_type[:3] == described["errorType"][:3]
    assert described["errorMessage"].startswith(body["errorMessage"])


def test_the_innermost_frames_are_kept() -> None:
    frames = [f"frame {i} " + "x" * 100 for i in range(100)]
    _, body = decoded(encode_trailers(error(stackTrace=frames)))
    assert 10 < len(body["stackTrace"]) < 100
    assert body["stackTrace"] == frames[-len(body["stackTrace"]) :]


@pytest.mark.parametrize("name", ["Fehler\r\nX-Evil: 1", "Störung"])
def test_a_type_that_is_no_header_value_is_made_one(name: str) -> None:
    first, second, *rest = encode_trailers(error(errorType=name)).split(b"\r\n")
    assert (first.isascii(), second.startswith(BODY_HEADER.encode()), rest) == (True, True, [b"", b""])


def test_a_message_that_is_no_unicode_can_be_told() -> None:
    assert decoded(encode_trailers(error(errorMessage="\ud800")))[1]["errorMessage"] == "\ud800"


def raised(exception: Exception) -> Exception:
    with pytest.raises(type(exception)) as caught:
        raise exception
    return caught.value


def test_an_exception_is_described_as_awslambdaric_does() -> None:
    described = describe(raised(ValueError("wrong")), "request-1")
    assert described.keys() == {"errorMessage", "errorType", "requestId", "stackTrace"}
    assert (described["errorMessage"], described["errorType"], described["requestId"]) == (
        "wrong",
        "ValueError",
        "request-1",
    )
    assert "in raised" in described["stackTrace"][-1]


def test_a_fault_of_the_runtime_keeps_its_own_type() -> None:
    assert describe(raised(FaultException("Runtime.MarshalError", "no")), "r")["errorType"] == "Runtime.MarshalError"
