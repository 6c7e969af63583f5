"""The edge's AppSync front in the test's own process, before a backend that answers as the test says."""

import asyncio
import base64
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import jwt
from aiohttp import web
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from local.edge.access_log import access_logger
from local.edge.appsync import MOUNT, REALTIME_MOUNT, AppSyncFront
from local.edge.appsync_api import AppSyncApi
from local.edge.appsync_callers import AuthMode, Callers, UserPool
from local.edge.appsync_connection import RealtimeLimits
from local.edge.appsync_operation import DocumentLimits
from local.edge.appsync_schema import ApiSchema
from local.edge.appsync_signature import SignatureVerifier
from local.edge.cuts import Cuts
from local.edge.tls import RunCertificate
from local.edge.user_pool_keys import UserPoolKeys
from local.loopback import loopback_only

GRAPHQL = Path(__file__).parents[2] / "graphql"
SDL = (GRAPHQL / "schema.graphql").read_text()
RESOLVERS = {"onTokenReceived": (GRAPHQL / "resolvers" / "onTokenReceived.js").read_text()}
RESOLVED = frozenset(
    {
        ("Query", "getStream"),
        ("Mutation", "startStream"),
        ("Mutation", "cancelStream"),
        ("Mutation", "publishToken"),
        ("Subscription", "onTokenReceived"),
    }
)
REGION = "us-east-1"
POOL = f"{REGION}_abc"
CLIENT = "client-1"
API_ID = "api123"
KEYS = Credentials("test", "test")
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)

USER = "user-1"
STRANGER = "user-2"
SESSION = "6f1e2d3c-4b5a-4978-8695-a4b3c2d1e0f9"
ALL_FIELDS = "sessionId owner attempt sequence type token isComplete frame timestamp"
SUBSCRIBE = f"subscription On($id: ID!) {{ onTokenReceived(sessionId: $id) {{ {ALL_FIELDS} }} }}"
PUBLISH = (
    "mutation P($id: ID!, $owner: ID!, $n: Int!, $token: String) { publishToken(sessionId: $id, owner: $owner, "
    f'attempt: 1, sequence: $n, type: "token", token: $token, frame: "{{}}") {{ {ALL_FIELDS} }} }}'
)
START = "mutation S($prompt: String) { startStream(prompt: $prompt) { sessionId status } }"
STARTED = {"data": {"startStream": {"sessionId": SESSION, "status": "accepted"}}}

Script = Callable[[dict[str, Any]], tuple[int, Any]]
Headers = Mapping[str, str]


def token(key: Any = KEY, *, sub: str = USER, kid: str = "k1", algorithm: str = "RS256", **claims: Any) -> str:
    """Make a token as the pool does, with these claims in place of the usual ones; None leaves one out."""
    now = int(time.time())
    payload = {
        "sub": sub,
        "aud": CLIENT,
        "iss": f"https://cognito-idp.{REGION}.amazonaws.com/{POOL}",
        "token_use": "id",
        "iat": now - 10,
        # Many are made when the tests are collected.
        "exp": now + 24 * 3600,
        "cognito:username": sub,
        **claims,
    }
    given = {name: value for name, value in payload.items() if value is not None}
    return jwt.encode(given, key, algorithm, {"kid": kid})


def access_token() -> str:
    return token(aud=None, token_use="access", client_id=CLIENT, username=USER)


def signed(
    url: str, body: str, *, credentials: Credentials = KEYS, region: str = REGION, service: str = "appsync"
) -> dict[str, str]:
    """Give the headers of a POST that is signed now."""
    request = AWSRequest("POST", url, headers={"Content-Type": "application/json"}, data=body)
    SigV4Auth(credentials, service, region).add_auth(request)
    return {name.lower(): value for name, value in request.headers.items()}


def published(*, owner: str = USER, session: str = SESSION, sequence: int = 1, text: str = "Hi") -> dict[str, Any]:
    """Give the event of a token as the resolver makes it."""
    return {
        "sessionId": session,
        "owner": owner,
        "attempt": 1,
        "sequence": sequence,
        "type": "token",
        "token": text,
        "isComplete": False,
        "frame": "{}",
        "timestamp": "2026-11-21T12:00:00.000Z",
    }


@dataclass
class ScriptedBackend:
    """MiniStack's GraphQL endpoint and user pool. Without a script it gives back the whole of what is published."""

    script: Script | None = None
    requests: list[tuple[dict[str, str], dict[str, Any]]] = field(default_factory=list)
    keys_readable: bool = True
    gone: bool = False

    async def handle(self, request: web.Request) -> web.Response:
        document = await request.json()
        if self.gone and request.transport:
            request.transport.abort()
        self.requests.append(({name.lower(): value for name, value in request.headers.items()}, document))
        if self.script:
            status, answer = self.script(document)
            return web.Response(
                status=status, body=answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            )
        variables = document["variables"]
        if "publishToken" not in document["query"]:
            return web.json_response(STARTED)
        event = published(
            owner=variables["owner"], session=variables["id"], sequence=variables["n"], text=variables.get("token")
        )
        return web.json_response({"data": {"publishToken": event}})

    async def keys(self, _request: web.Request) -> web.Response:
        if not self.keys_readable:
            return web.Response(status=503)
        public = json.loads(RSAAlgorithm.to_jwk(KEY.public_key()))
        return web.json_response({"keys": [{**public, "kid": "k1", "use": "sig", "alg": "RS256"}]})


class Setup:
    """A running front."""

    def __init__(
        self,
        front: AppSyncFront,
        ports: list[int],
        backend: ScriptedBackend,
        cuts: Cuts,
        ca: Path,
        http: httpx.AsyncClient,
    ) -> None:
        self.front = front
        self.host, self.tls_host = (f"127.0.0.1:{port}" for port in ports)
        self.url = f"http://{self.host}{MOUNT}"
        self.realtime_url = f"ws://{self.host}{REALTIME_MOUNT}"
        self.tls_url = f"https://{self.tls_host}{MOUNT}"
        self.backend = backend
        self.cuts = cuts
        self.ca = ca
        self.http = http
        self.log: list[str] = []

    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.ca)

    async def post(
        self, query: str, variables: dict[str, Any] | None = None, headers: Headers | None = None, **more: Any
    ) -> httpx.Response:
        """Send a request; as the user, where no headers are given."""
        return await self.http.post(
            self.url,
            json={"query": query, "variables": variables or {}, **more},
            headers={"Authorization": token()} if headers is None else headers,
        )

    async def publish(self, query: str = PUBLISH, **variables: Any) -> dict[str, Any]:
        """Publish as the functions do; gives what they get."""
        defaults = {"id": SESSION, "owner": USER, "n": 1, "token": "Hi"}
        body = json.dumps({"query": query, "variables": {**defaults, **variables}})
        response = await self.http.post(self.url, content=body, headers=signed(self.url, body))
        answer: dict[str, Any] = response.raise_for_status().json()
        return answer

    def dial(self, headers: Headers | None = None, *, url: str | None = None, **options: Any) -> connect:
        """Connect a client with the credentials in a subprotocol; the user's, where none are given."""
        given = {"host": self.host, "Authorization": token()} if headers is None else headers
        defaults: dict[str, Any] = {
            "subprotocols": [Subprotocol("graphql-ws"), Subprotocol(f"header-{encoded(given)}")],
            "ping_interval": None,
            "close_timeout": 1,
            "proxy": None,
        }
        return connect(url or self.realtime_url, **{**defaults, **options})

    @asynccontextmanager
    async def connected(
        self, headers: Headers | None = None, *, url: str | None = None, **options: Any
    ) -> AsyncIterator["Client"]:
        """Connect, and be let in."""
        async with self.dial(headers, url=url, **options) as connection:
            client = Client(connection, self.host)
            async with asyncio.timeout(60):
                await client.send(type="connection_init")
                assert await client.receive() == {
                    "type": "connection_ack",
                    "payload": {"connectionTimeoutMs": 300_000},
                }
                assert await client.receive() == {"type": "ka"}
                yield client


class Client:
    """A client of the real-time endpoint."""

    def __init__(self, connection: ClientConnection, host: str) -> None:
        self.connection = connection
        self._host = host

    async def send(self, **message: Any) -> None:
        await self.connection.send(json.dumps(message))

    async def receive(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(await self.connection.recv())
        return message

    async def start(
        self,
        id_: str,
        query: str = SUBSCRIBE,
        variables: dict[str, Any] | None = None,
        headers: Headers | None = None,
    ) -> dict[str, Any]:
        """Ask for a subscription, the user's where no headers are given; gives what comes back."""
        data = json.dumps({"query": query, "variables": {"id": SESSION} if variables is None else variables})
        authorization = {"host": self._host, "Authorization": token()} if headers is None else dict(headers)
        payload = {"data": data, "extensions": {"authorization": authorization}}
        await self.send(id=id_, type="start", payload=payload)
        return await self.receive()

    async def subscribed(self, id_: str = "1", query: str = SUBSCRIBE, **variables: Any) -> None:
        """Subscribe, with success."""
        assert await self.start(id_, query, {"id": SESSION, **variables}) == {"type": "start_ack", "id": id_}

    async def events(self, count: int) -> list[dict[str, Any]]:
        """Receive so many events of any subscription; gives what its field has."""
        return [(await self.receive())["payload"]["data"]["onTokenReceived"] for _ in range(count)]


def encoded(headers: Headers) -> str:
    return base64.urlsafe_b64encode(json.dumps(headers).encode()).decode().rstrip("=")


def api_of(
    sdl: str = SDL,
    *,
    modes: tuple[AuthMode, ...] = (AuthMode.COGNITO, AuthMode.IAM),
    limits: DocumentLimits = DocumentLimits(introspection=False),  # noqa: B008 frozen
    resolvers: Mapping[str, str] = RESOLVERS,
) -> AppSyncApi:
    return AppSyncApi(
        api_id=API_ID,
        domain=f"{API_ID}.appsync-api.{REGION}.amazonaws.com",
        schema=ApiSchema(sdl, modes),
        limits=limits,
        resolved_fields=RESOLVED,
        subscription_resolvers=resolvers,
    )


@asynccontextmanager
async def running_appsync(
    tmp_path: Path,
    script: Script | None = None,
    *,
    api: AppSyncApi | None = None,
    limits: RealtimeLimits | None = None,
    signatures: bool = True,
    client_pattern: str | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> AsyncIterator[Setup]:
    """Run a front with its backend, on HTTP and on TLS."""
    async with AsyncExitStack() as running:
        backend = ScriptedBackend(script)
        behind = web.Application()
        behind.router.add_post(f"/v1/apis/{API_ID}/graphql", backend.handle)
        behind.router.add_get(f"/{POOL}/.well-known/jwks.json", backend.keys)
        [(_, port)] = await _serve(running, behind, None)
        endpoint = f"http://127.0.0.1:{port}"
        callers = Callers(
            UserPool(UserPoolKeys(endpoint, POOL), REGION, POOL, client_pattern),
            SignatureVerifier(("test", "test"), REGION, clock) if signatures else None,
        )
        cuts = Cuts()
        app = web.Application(middlewares=[loopback_only])
        app.router.add_post("/_control/cut", cuts.handle)
        log: list[str] = []
        front = AppSyncFront(api or api_of(), callers, endpoint, cuts, log=log.append, limits=limits)
        front.add_to(app)
        certificate = RunCertificate()
        ca = tmp_path / f"{uuid4()}.pem"
        running.enter_context(certificate.published(ca))
        addresses = await _serve(running, app, certificate.server_context(), log.append)
        http = await running.enter_async_context(httpx.AsyncClient(timeout=60))
        setup = Setup(front, [port for _, port in addresses], backend, cuts, ca, http)
        setup.log = log
        yield setup


async def _serve(
    running: AsyncExitStack,
    app: web.Application,
    tls: ssl.SSLContext | None,
    log: Callable[[str], None] = lambda _line: None,
) -> list[tuple[str, int]]:
    runner = web.AppRunner(app, access_log_class=access_logger(log), auto_decompress=False, shutdown_timeout=0.2)
    await runner.setup()
    running.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    if tls:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    return [(host, port) for host, port in runner.addresses]
