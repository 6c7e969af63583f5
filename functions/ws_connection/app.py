"""The routes `$connect` and `$disconnect` of the WebSocket API: keep the table of connections."""

import os
from http import HTTPStatus
from time import time
from typing import Any

from tokenstream import settings, telemetry, wiring
from tokenstream.connections import ConnectionsUnavailable
from tokenstream.handshake import PROTOCOL, PROTOCOL_HEADER, offered_protocols
from tokenstream.telemetry import logger

connections = wiring.connections(settings.ConnectionStore.from_environment(os.environ))


def answer(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    """Answer one event; what `$connect` answers decides whether the connection comes about."""
    match event["requestContext"]["eventType"]:
        case "CONNECT":
            return _connect(event)
        case "DISCONNECT":
            return _disconnect(event["requestContext"])
        case other:
            raise ValueError(f"{other} is no event of a connection's")


def _connect(event: dict[str, Any]) -> dict[str, Any]:
    request = event["requestContext"]
    ids = {"connection_id": request["connectionId"]}
    try:
        connections.open(request["connectionId"], request["authorizer"]["sub"], time())
    except ConnectionsUnavailable:
        logger.exception("connection not noted", extra=ids)
        return {"statusCode": HTTPStatus.INTERNAL_SERVER_ERROR}
    logger.info("connection opened", extra=ids)
    # A client that has offered protocols gives up when none of them is answered, and when another one is.
    selected = {PROTOCOL_HEADER: PROTOCOL} if PROTOCOL in offered_protocols(event) else {}
    return {"statusCode": HTTPStatus.OK, "headers": selected}


def _disconnect(request: dict[str, Any]) -> dict[str, Any]:
    ids = {"connection_id": request["connectionId"]}
    try:
        connections.close(request["connectionId"])
    except ConnectionsUnavailable:
        # It expires by itself.
        logger.warning("connection not taken away", exc_info=True, extra=ids)
    # The reason beside the code is the client's own text.
    logger.info("connection closed", extra={**ids, "close_code": request.get("disconnectStatusCode")})
    return {"statusCode": HTTPStatus.OK}


handler = telemetry.traced(logger.inject_lambda_context(answer), enabled=settings.tracing(os.environ))
