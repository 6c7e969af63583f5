"""AppSync's IAM mode against requests that are forged in the usual ways."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials

from local.edge.appsync_errors import RefusedError
from local.edge.appsync_signature import SignatureVerifier, SignedRequest

URL = "http://127.0.0.1:4000/graphql"
BODY = json.dumps({"query": "{ x }", "variables": {"text": "✓"}}).encode()


def _signed(
    *,
    credentials: Credentials = Credentials("test", "test"),  # noqa: B008 not changed
    region: str = "us-east-1",
    service: str = "appsync",
    url: str = URL,
    headers: dict[str, str] | None = None,
) -> SignedRequest:
    request = AWSRequest("POST", url, headers={"Content-Type": "application/json", **(headers or {})}, data=BODY)
    SigV4Auth(credentials, service, region).add_auth(request)
    host = url.split("/")[2]
    return SignedRequest("POST", url, (("Host", host), *request.headers.items()), BODY)


def _with(request: SignedRequest, name: str, value: str) -> SignedRequest:
    others = tuple(header for header in request.headers if header[0].lower() != name.lower())
    return replace(request, headers=(*others, (name, value)))


def _verify(request: SignedRequest, later: timedelta = timedelta()) -> str:
    """Verify a request so much later than it says that it was signed."""
    date = request.values("x-amz-date")[0]
    try:
        signed_at = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        signed_at = datetime.now(UTC)
    verifier = SignatureVerifier(("test", "test"), "us-east-1", lambda: signed_at + later)
    return verifier.verify(request, request.values("authorization")[0])


@pytest.mark.parametrize(
    "request_",
    [
        _signed(),
        _signed(url="https://api123.appsync-api.us-east-1.amazonaws.com/graphql/connect"),
        _signed(url=URL + "?b=2&a=%20x"),
        _signed(headers={"X-Amz-User-Agent": "  a/6   b/1 ", "User-Agent": "x", "X-Amz-Security-Token": "t"}),
    ],
    ids=["plain", "connect", "query", "more headers"],
)
def test_what_was_signed_with_the_stacks_keys_is_accepted(request_: SignedRequest) -> None:
    assert _verify(request_) == "test"
    assert _verify(request_, timedelta(minutes=4)) == "test"
    assert _verify(request_, timedelta(minutes=-4)) == "test"


def test_functions_that_sign_with_the_users_own_keys_may_publish() -> None:
    verifier = SignatureVerifier(None, "us-east-1")
    request = _signed(credentials=Credentials("AKIAUSERSOWN", "secret"))
    assert verifier.verify(request, request.values("authorization")[0]) == "AKIAUSERSOWN"
    elsewhere = _signed(credentials=Credentials("AKIAUSERSOWN", "secret"), region="eu-west-1")
    with pytest.raises(RefusedError):
        verifier.verify(elsewhere, elsewhere.values("authorization")[0])


def test_a_header_that_is_not_signed_may_be_added_on_the_way() -> None:
    assert _verify(_with(_signed(), "X-Forwarded-For", "10.0.0.1")) == "test"


def test_a_client_may_sign_a_header_that_botocore_would_not() -> None:
    signed = _signed(headers={"User-Agent": "x"})
    request = AWSRequest("POST", URL, headers={"user-agent": "x", "host": "127.0.0.1:4000"}, data=BODY)
    request.context["timestamp"] = signed.values("x-amz-date")[0]
    request.headers["x-amz-date"] = request.context["timestamp"]

    class EverythingSigned(SigV4Auth):
        def headers_to_sign(self, request: AWSRequest) -> HTTPHeaders:
            return request.headers

    signer = EverythingSigned(Credentials("test", "test"), "appsync", "us-east-1")
    signature = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    header = (
        f"AWS4-HMAC-SHA256 Credential={signer.scope(request)},"
        f"SignedHeaders=host;user-agent;x-amz-date,Signature={signature}"
    )
    headers = (*request.headers.items(), ("Authorization", header))
    assert _verify(SignedRequest("POST", URL, headers, BODY)) == "test"


def _unsigned_payload(request: SignedRequest) -> SignedRequest:
    """Claim another body's checksum, which botocore believes where it signs."""
    return replace(request, body=b'{"query": "mutation { publishToken }"}')


@pytest.mark.parametrize(
    ("forged", "type_"),
    [
        (replace(_signed(), body=BODY + b" "), "BadRequestException"),
        (replace(_signed(), method="PUT"), "BadRequestException"),
        (replace(_signed(), url=URL + "/connect"), "BadRequestException"),
        (replace(_signed(), url=URL + "?x=1"), "BadRequestException"),
        (_with(_signed(), "Host", "127.0.0.1:4001"), "BadRequestException"),
        (_with(_signed(), "Content-Type", "text/plain"), "BadRequestException"),
        (_signed(credentials=Credentials("test", "guessed")), "BadRequestException"),
        (_signed(region="eu-west-1"), "BadRequestException"),
        (_signed(service="execute-api"), "BadRequestException"),
        (_signed(credentials=Credentials("AKIASOMEBODYELSE", "test")), "UnrecognizedClientException"),
        (_with(_signed(), "X-Amz-Date", "20200101T000000Z"), "BadRequestException"),
        (_with(_signed(), "X-Amz-Date", "yesterday"), "BadRequestException"),
        (
            _with(_signed(), "Authorization", re.sub(r"/\d{8}/", "/20200101/", _signed().values("authorization")[0])),
            "BadRequestException",
        ),
        (_with(_signed(), "Authorization", "AWS4-HMAC-SHA256 "), "IncompleteSignatureException"),
        (_with(_signed(), "Authorization", "AWS4-HMAC-SHA256 Credential=test"), "IncompleteSignatureException"),
        (
            _with(
                _signed(),
                "Authorization",
                _signed().values("authorization")[0].replace("host;", ""),
            ),
            "IncompleteSignatureException",
        ),
        (
            _with(
                _signed(),
                "Authorization",
                _signed().values("authorization")[0].replace(";x-amz-date", ""),
            ),
            "IncompleteSignatureException",
        ),
        (
            replace(_signed(), headers=(*_signed().headers, ("X-Amz-Date", "20200101T000000Z"))),
            "IncompleteSignatureException",
        ),
        (_unsigned_payload(_signed(headers={"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"})), "BadRequestException"),
    ],
    ids=[
        *("body", "method", "path", "query", "host", "signed header", "secret", "region", "service", "access key"),
        *(
            "date",
            "no date",
            "scope of another day",
            "empty",
            "cut short",
            "host not signed",
            "date not signed",
            "two dates",
        ),
        "payload not signed",
    ],
)
def test_anything_else_is_refused(forged: SignedRequest, type_: str) -> None:
    with pytest.raises(RefusedError) as refused:
        _verify(forged)
    assert refused.value.type == type_
    assert refused.value.status in {400, 403}


@pytest.mark.parametrize("minutes", [-6, 6])
def test_a_signature_ages(minutes: int) -> None:
    with pytest.raises(RefusedError, match="Signature expired"):
        _verify(_signed(), timedelta(minutes=minutes))
