"""`tokenstream token`: an ID token for other HTTP clients."""

import asyncio

from tokenstream_client.client import IDLE_TIMEOUT
from tokenstream_client.command.arguments import TokenOptions
from tokenstream_client.command.exit_codes import COMPLETE
from tokenstream_client.command.interrupt import woken_by_signals
from tokenstream_client.command.stack import endpoints_of
from tokenstream_client.endpoints import Endpoints


def token(options: TokenOptions) -> int:
    """Run the command; return its exit code. Raises `ClientError` when the user can't sign in."""
    endpoints = endpoints_of(options)
    with asyncio.Runner() as runner, woken_by_signals(runner.get_loop()):
        print(runner.run(_sign_in(endpoints)), flush=True)
    return COMPLETE


async def _sign_in(endpoints: Endpoints) -> str:
    # httpx takes 0.1 s to import: the command's --help and usage errors don't wait for it.
    from tokenstream_client.cognito import CognitoTokens  # noqa: PLC0415
    from tokenstream_client.transports.http import http_client  # noqa: PLC0415

    async with http_client(IDLE_TIMEOUT) as http:
        return await CognitoTokens(endpoints, http).token()
