"""Sample events: what differs from stack to stack stands in them as a placeholder."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from uuid import UUID

import jwt
from botocore.exceptions import BotoCoreError, ClientError

from local.cloud.clients import AwsClients
from local.errors import StackError

CLIENT_ID = "USER-POOL-CLIENT-ID"
ID_TOKEN = "PUT-AN-ID-TOKEN-HERE"  # noqa: S105 - a placeholder
USER = "f4d8c408-50a1-7005-8f5c-0d6f1f2b3a4c"
"""The samples' user, by the `sub` that a front door reads from the token."""
CONNECTION = "VqYb2cO1IAMCIhw="
"""The samples' WebSocket connection."""
_SESSION = re.compile(r"""(?:/sessions/|\bsessionId\\?"\s*:\s*\\?")([0-9a-f-]{36})(?![0-9a-f-])""")


def read_event(path: Path) -> str:
    """Read an event's JSON; raises `StackError` when there is none."""
    try:
        event = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise StackError(f"The event {path} can't be read: {error}.") from error
    try:
        json.loads(event)
    except ValueError as error:
        raise StackError(f"The event {path} is not JSON: {error}.") from error
    return event


def put_session(event: str, session: UUID) -> str:
    """Put a session's id in the place of the one that a path or a message names; raises `StackError` without one."""
    named = _SESSION.search(event)
    if named is None:
        raise StackError("The event names no session: --session has no place in it.")
    return event.replace(named[1], str(session))


def put_connection(event: str, connection: str) -> str:
    """Put a connection's id in the place of the sample's; raises `StackError` without one."""
    if CONNECTION not in event:
        raise StackError("The event names no connection: --connection has no place in it.")
    return event.replace(CONNECTION, connection)


def shortcomings(
    event: str, stack: Mapping[str, str] | None, session: UUID | None, connection: str | None = None
) -> Iterator[str]:
    """Say why a sound function may turn the event down; `session` and `connection` were put into it."""
    if stack is None:
        yield (
            "no local stack is running, so the sample's token can't be valid; start `make run`"
            if ID_TOKEN in event
            else "no local stack is running, so calls to AWS will fail; start `make run`"
        )
        return
    if session is None and _SESSION.search(event):
        yield (
            f"the session in the event has to be one of {stack['username']}'s; "
            "--session ID puts it there (`tokenstream chat --json` shows the id in each frame)"
        )
    if connection is None and _is_answered_there(event):
        yield (
            "the connection in the event is not open, so nobody sees what is sent to it; "
            "--connection ID puts an open one there (ws_connection's log has its id)"
        )


def _is_answered_there(event: str) -> bool:
    """Whether the function sends what it has to say to the event's connection: for a client's message, or a replay."""
    match json.loads(event):
        case {"requestContext": {"eventType": "MESSAGE"}} | {"connectionId": str()}:
            return True
    return False


def fill_in(event: str, environment: Mapping[str, str], stack: Mapping[str, str] | None) -> str:
    """Put the function's own client id and, where a stack runs, its user and the user's token in their places."""
    event = event.replace(CLIENT_ID, environment.get("USER_POOL_CLIENT_ID", CLIENT_ID))
    if stack is not None and (ID_TOKEN in event or USER in event):
        token = _sign_in(stack)
        sub = jwt.decode(token, options={"verify_signature": False})["sub"]
        event = event.replace(ID_TOKEN, token).replace(USER, sub)
    return event


def _sign_in(stack: Mapping[str, str]) -> str:
    cognito = AwsClients(stack["awsEndpointUrl"], stack["region"])("cognito-idp")
    try:
        answer = cognito.initiate_auth(
            ClientId=stack["userPoolClientId"],
            AuthFlow="USER_PASSWORD_AUTH",
            AuthParameters={"USERNAME": stack["username"], "PASSWORD": stack["password"]},
        )
    except (BotoCoreError, ClientError) as error:
        raise StackError(f"The local stack's user {stack['username']} could not sign in.") from error
    token: str = answer["AuthenticationResult"]["IdToken"]
    return token
