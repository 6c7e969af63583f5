"""Client for tokenstream: the tokens of a language model while they are generated.

async with Client() as client:
    async for frame in client.stream(prompt="Why is the sky blue?"):
        if isinstance(frame, Token):
            print(frame.token, end="", flush=True)
"""

from tokenstream_client.assembler import Arrivals
from tokenstream_client.blocking import SyncClient, stream_sync
from tokenstream_client.client import Client, stream
from tokenstream_client.delivery import Delivery
from tokenstream_client.endpoints import Endpoints
from tokenstream_client.errors import (
    AnswerFailed,
    ClientError,
    ConnectionFailed,
    EndpointsError,
    ErrorDetail,
    ProtocolError,
    RequestRejected,
    SignInFailed,
    StreamLost,
    WrongCredentials,
)
from tokenstream_client.frames import Complete, ErrorFrame, Frame, Position, Reasoning, Start, Timings, Token, Usage
from tokenstream_client.retry import RetryPolicy
from tokenstream_client.stream import Stream
from tokenstream_client.tokens import TokenProvider

__all__ = [
    "AnswerFailed",
    "Arrivals",
    "Client",
    "ClientError",
    "Complete",
    "ConnectionFailed",
    "Delivery",
    "Endpoints",
    "EndpointsError",
    "ErrorDetail",
    "ErrorFrame",
    "Frame",
    "Position",
    "ProtocolError",
    "Reasoning",
    "RequestRejected",
    "RetryPolicy",
    "SignInFailed",
    "Start",
    "Stream",
    "StreamLost",
    "SyncClient",
    "Timings",
    "Token",
    "TokenProvider",
    "Usage",
    "WrongCredentials",
    "stream",
    "stream_sync",
]
