"""The stack that a command talks to, and the user that it signs in as."""

import getpass
import os
import sys

from tokenstream_client.command.arguments import StackOptions
from tokenstream_client.endpoints import Endpoints
from tokenstream_client.errors import SignInFailed


def endpoints_of(options: StackOptions) -> Endpoints:
    """Return the endpoints with a user that can sign in; raises `EndpointsError` and `SignInFailed`.

    The password may be asked for. There is no --password: other users of the machine see command lines.
    """
    endpoints = Endpoints.load(options.endpoints)
    if options.username is None and endpoints.username and endpoints.password:
        return endpoints
    username = options.username or endpoints.username
    if not username:
        raise SignInFailed("The endpoints name no user. Give --username, and the password in TOKENSTREAM_PASSWORD.")
    password = os.environ.get("TOKENSTREAM_PASSWORD")
    if not password:
        if not sys.stdin.isatty():
            raise SignInFailed(f"There is no password for {username}. Set TOKENSTREAM_PASSWORD.")
        password = getpass.getpass(f"Password of {username}: ")
    return endpoints.with_user(username, password)
