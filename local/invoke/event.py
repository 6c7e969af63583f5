"""Sample events: what differs from stack to stack stands in them as a placeholder."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from uuid import UUID

from botocore.exceptions import BotoCoreError, ClientError

from local.cloud.clients import AwsClients
from local.errors import StackError

CLIENT_ID = "USER-POOL-CLIENT-ID"
ID_TOKEN = "PUT-AN-ID-TOKEN-HERE"  # noqa: S105 - a placeholder
_SESSION_PATH = re.compile(r"/sessions/([0-9a-f-]{36})(?![0-9a-f-])")


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
    """Put a session's id in the place of the one that the request's path names; raises `StackError` without one."""
    named = _SESSION_PATH.search(event)
    if named is None:
        raise StackError("The event's path names no session: --session has no place in it.")
    return event.replace(named[1], str(session))


def shortcomings(event: str, stack: Mapping[str, str] | None, session: UUID | None) -> Iterator[str]:
    """Say why a sound function may turn the event down; `session` was put into it."""
    if stack is None:
        yield (
            "no local stack is running, so the sample's token can't be valid; start `make run`"
            if ID_TOKEN in event
            else "no local stack is running, so calls to AWS will fail; start `make run`"
        )
    elif session is None and _SESSION_PATH.search(event):
        yield (
            f"the session in the event has to be one of {stack['username']}'s; "
            "--session ID puts it there (`tokenstream chat --json` shows the id in each frame)"
        )


def fill_in(event: str, environment: Mapping[str, str], stack: Mapping[str, str] | None) -> str:
    """Put the function's own client id and, where a stack runs, its user's token in their places."""
    event = event.replace(CLIENT_ID, environment.get("USER_POOL_CLIENT_ID", CLIENT_ID))
    if stack is not None and ID_TOKEN in event:
        event = event.replace(ID_TOKEN, _sign_in(stack))
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
