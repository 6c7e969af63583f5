"""The authorizer of the WebSocket API's `$connect`: lets a connection in by the ID token that it brings."""

import os
from time import time
from typing import Any, Literal

# The verifier imports it when it first verifies. Here that is each start's first call, and a start has more CPU.
import jwt  # noqa: F401

from tokenstream import settings, telemetry
from tokenstream.auth import TokenVerifier
from tokenstream.errors import Unauthorized
from tokenstream.handshake import presented_token
from tokenstream.telemetry import logger

token_verifier = TokenVerifier.of(settings.UserPool.from_environment(os.environ), clock=time)


def authorize(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    """Answer with a policy for this one handshake; the routes find `sub` and `expiresAt` in their authorizer's context.

    A refusal is a policy too, which the client sees as 403. When it can't be told whose the token is, `KeysUnavailable`
    leaves the function: to the client a fault of ours, 500.
    """
    try:
        principal = token_verifier.verify(presented_token(event))
    except Unauthorized as error:
        connection_id = event["requestContext"]["connectionId"]
        logger.info(
            "connection refused",
            extra={"connection_id": connection_id, "error_code": error.code, "reason": error.message},
        )
        return _policy("Deny", event["methodArn"], "anonymous")
    # API Gateway takes texts, numbers and truth values here, and hands texts on.
    context = {"sub": principal.sub, "expiresAt": str(principal.expires_at)}
    return _policy("Allow", event["methodArn"], principal.sub) | {"context": context}


def _policy(effect: Literal["Allow", "Deny"], method_arn: str, principal_id: str) -> dict[str, Any]:
    statement = {"Action": "execute-api:Invoke", "Effect": effect, "Resource": method_arn}
    return {"principalId": principal_id, "policyDocument": {"Version": "2012-10-17", "Statement": [statement]}}


handler = telemetry.traced(logger.inject_lambda_context(authorize), enabled=settings.tracing(os.environ))
