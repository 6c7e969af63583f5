"""The clients of `benchmarks.local_stack`, in a process of their own: they share two cores with what they measure.

`python -m benchmarks.local_load` reads an `Order` from its standard input and writes what its clients received, a list
of `Received` for each round, as JSON. While streams run, a client notes what comes and when, and looks for nothing but
the end; it reads what it has noted afterwards.
"""

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from itertools import count

import msgspec

from benchmarks.local_clients import Client, Received, client_of
from tokenstream_client.endpoints import Endpoints, PathName

_SECONDS = 120.0


class Order(msgspec.Struct, frozen=True):
    """A client for each prompt of a round; `spread`: seconds over which they start."""

    path: PathName
    endpoints: str
    token: str
    rounds: list[list[str]]
    spread: float


async def _run(order: Order) -> list[list[Received]]:
    endpoints = Endpoints.from_mapping(json.loads(order.endpoints))
    clients = [client_of(order.path, endpoints, order.token) for _ in order.rounds[0]]

    async def one(index: int, client: Client, prompt: str) -> Received:
        await asyncio.sleep(order.spread * index / len(clients))
        return await client.stream(prompt)

    async with asyncio.timeout(_SECONDS), AsyncExitStack() as connections:
        for client in clients:
            await connections.enter_async_context(client.connected())
        return [await asyncio.gather(*map(one, count(), clients, prompts)) for prompts in order.rounds]


if __name__ == "__main__":
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(_run(order))))
