"""What can be said about a request's signature without knowing the secret: that it is there, whole, and for Bedrock."""

import re

_SIGV4 = re.compile(
    r"AWS4-HMAC-SHA256 Credential=[^/,\s]+/\d{8}/[a-z0-9-]+/(?P<service>[a-z0-9-]+)/aws4_request,\s*"
    r"SignedHeaders=(?P<headers>[a-z0-9;_-]+),\s*Signature=[0-9a-f]{64}"
)


class SignatureError(Exception):
    """Bedrock would answer 403 with this exception."""

    def __init__(self, type_: str, message: str) -> None:
        super().__init__(message)
        self.type = type_
        self.message = message


def check_signature(authorization: str | None) -> None:
    """Raise `SignatureError` unless the `Authorization` header could be a SigV4 signature for Bedrock."""
    if not authorization:
        raise SignatureError("MissingAuthenticationTokenException", "Missing Authentication Token")
    signature = _SIGV4.fullmatch(authorization)
    if not signature or "host" not in signature["headers"].split(";"):
        raise SignatureError(
            "IncompleteSignatureException", "Authorization header is not a whole AWS Signature Version 4."
        )
    if signature["service"] != "bedrock":
        raise SignatureError("InvalidSignatureException", "Credential should be scoped to correct service: 'bedrock'.")
