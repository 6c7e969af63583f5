"""Verifies the SigV4 signature of a request to AppSync.

Source: IAM user guide, "Signing AWS API requests"; of the answers, aws-mobile-appsync-sdk-js #619 and #561.
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials

from local.edge.appsync_errors import BAD_REQUEST, RefusedError

ALGORITHM = "AWS4-HMAC-SHA256"
CLOCK_SKEW = timedelta(minutes=5)
_SERVICE = "appsync"
_TIMESTAMP = "%Y%m%dT%H%M%SZ"
_AUTHORIZATION = re.compile(
    rf"{ALGORITHM} +"
    r"Credential=(?P<key>[^/,\s]+)/(?P<day>\d{8})/(?P<region>[a-z0-9-]+)/(?P<service>[a-z0-9-]+)/aws4_request"
    r",\s*SignedHeaders=(?P<headers>[a-z0-9;_-]+),\s*Signature=(?P<signature>[0-9a-f]{64})"
)


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """What a signature covers. `url` as it was asked for, percent-encoded; `headers` as they came, without order."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def values(self, name: str) -> list[str]:
        """All values of a header."""
        return [value for key, value in self.headers if key.lower() == name]


class SignatureVerifier:
    """Knows one pair of keys, and takes signatures for one region. `clock` tells the time, in UTC.

    Without keys every signature of today's counts: functions that call the real Bedrock sign with keys of the user's,
    which are not ours to know.
    """

    def __init__(
        self,
        keys: tuple[str, str] | None,
        region: str,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._access_key = keys[0] if keys else None
        self._region = region
        self._signer = _Signer(Credentials(*keys), _SERVICE, region) if keys else None
        self._clock = clock

    def verify(self, request: SignedRequest, authorization: str) -> str:
        """Give the access key that a request is signed with; raises `RefusedError`."""
        given = _AUTHORIZATION.fullmatch(authorization)
        signed = given["headers"].split(";") if given else []
        dates = request.values("x-amz-date")
        if not given or not {"host", "x-amz-date"} <= set(signed) or len(dates) != 1:
            raise RefusedError(
                HTTPStatus.FORBIDDEN,
                "IncompleteSignatureException",
                "Authorization header is not a whole AWS Signature Version 4 of host and x-amz-date.",
            )
        if self._access_key is not None and given["key"] != self._access_key:
            raise RefusedError(
                HTTPStatus.FORBIDDEN,
                "UnrecognizedClientException",
                "The security token included in the request is invalid.",
            )
        if (given["region"], given["service"]) != (self._region, _SERVICE):
            raise _bad(f"Credential should be scoped to {self._region} and {_SERVICE}.")
        self._check_date(dates[0], given["day"])
        signer = self._signer
        if signer and not hmac.compare_digest(signer.expected(request, signed, dates[0]), given["signature"]):
            raise _bad(
                "The request signature we calculated does not match the signature you provided. "
                "Check your AWS Secret Access Key and signing method."
            )
        return given["key"]

    def _check_date(self, date: str, day: str) -> None:
        try:
            signed_at = datetime.strptime(date, _TIMESTAMP).replace(tzinfo=UTC)
        except ValueError:
            raise _bad("X-Amz-Date is not a date in ISO 8601 basic format.") from None
        if date[:8] != day:
            raise _bad("Date in Credential scope does not match X-Amz-Date.")
        if abs(self._clock() - signed_at) > CLOCK_SKEW:
            raise _bad(f"Signature expired: {date} is not within {CLOCK_SKEW.seconds // 60} minutes of the time here.")


class _Signer(SigV4Auth):
    """Makes the signature of a request whose signed headers are given, as the one who signed it chose them."""

    def expected(self, request: SignedRequest, signed: Iterable[str], timestamp: str) -> str:
        headers = {name: ",".join(request.values(name)) for name in signed}
        # Where the request has this header, botocore would believe it.
        headers["x-amz-content-sha256"] = hashlib.sha256(request.body).hexdigest()
        to_sign = AWSRequest(request.method, request.url, headers=headers)
        to_sign.context["timestamp"] = timestamp
        to_sign.context["signed"] = tuple(signed)
        signature: str = self.signature(self.string_to_sign(to_sign, self.canonical_request(to_sign)), to_sign)
        return signature

    def headers_to_sign(self, request: AWSRequest) -> HTTPHeaders:
        headers = HTTPHeaders()
        for name in request.context["signed"]:
            headers[name] = request.headers.get(name, "")
        return headers


def _bad(message: str) -> RefusedError:
    return RefusedError(HTTPStatus.BAD_REQUEST, BAD_REQUEST, message)
