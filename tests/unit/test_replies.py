import pytest

from tokenstream.errors import Conflict, Internal, InvalidRequest, Throttled, TokenstreamError
from tokenstream.frames import ErrorDetail
from tokenstream.replies import Accepted, Pong, Rejected, Reply, encode_reply

SESSION_ID = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (
            Accepted(session_id=SESSION_ID, request_id="1"),
            b'{"type":"accepted","sessionId":"%b","requestId":"1"}' % SESSION_ID.encode(),
        ),
        (Accepted(session_id=SESSION_ID), b'{"type":"accepted","sessionId":"%b"}' % SESSION_ID.encode()),
        (Pong(request_id="1"), b'{"type":"pong","requestId":"1"}'),
        (Pong(), b'{"type":"pong"}'),
    ],
)
def test_a_reply_has_what_it_speaks_of_and_nothing_else(reply: Reply, message: bytes) -> None:
    assert encode_reply(reply) == message


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (
            InvalidRequest("No.", field="options.maxTokens"),
            b'{"code":"invalid_request","message":"No.","retryable":false,"field":"options.maxTokens"}',
        ),
        (
            Conflict("Used.", field="sessionId"),
            b'{"code":"conflict","message":"Used.","retryable":false,"field":"sessionId"}',
        ),
        (Throttled("Slower.", retryable=True), b'{"code":"throttled","message":"Slower.","retryable":true}'),
        (Internal(), b'{"code":"internal","message":"Something went wrong on our side.","retryable":true}'),
    ],
)
def test_a_rejection_has_the_error_that_it_has_on_every_path(error: TokenstreamError, detail: bytes) -> None:
    message = encode_reply(Rejected(error=ErrorDetail.of(error), session_id=SESSION_ID, request_id="1"))
    expected = b'{"type":"rejected","error":%b,"sessionId":"%b","requestId":"1"}'
    assert message == expected % (detail, SESSION_ID.encode())
    assert encode_reply(Rejected(error=ErrorDetail.of(error))) == b'{"type":"rejected","error":%b}' % detail


def test_a_request_id_comes_back_to_the_character() -> None:
    assert encode_reply(Pong(request_id='"é\u2028👋\\')) == '{"type":"pong","requestId":"\\"é\u2028👋\\\\"}'.encode()
