"""The AppSync front before a real MiniStack: the deployed API as it is read, its resolvers, and gql as a client."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from aiohttp import web
from botocore.credentials import Credentials
from gql import Client, gql
from gql.transport.appsync_auth import AppSyncIAMAuthentication, AppSyncJWTAuthentication
from gql.transport.appsync_websockets import AppSyncWebsocketsTransport
from gql.transport.exceptions import TransportQueryError, TransportServerError
from gql.transport.httpx import HTTPXAsyncTransport

from local.checkout import Checkout, this_checkout
from local.cloud.clients import AwsClients
from local.cloud.ministack import ministack
from local.cloud.users import create_user
from local.edge.appsync import REALTIME_MOUNT, AppSyncFront
from local.edge.appsync_api import AppSyncApi, read_appsync_api
from local.edge.appsync_callers import Callers
from local.edge.appsync_operation import DocumentLimits
from local.edge.cuts import Cuts
from local.edge.tls import RunCertificate
from local.errors import StackError
from tests.local.appsync_fakes import GRAPHQL, KEYS, PUBLISH, REGION, SUBSCRIBE, signed

RUNTIME = {"name": "APPSYNC_JS", "runtimeVersion": "1.0.0"}
AWKWARD = ['a "quote"\\', "\n\t\0", "\u202eright to left\u2028", "🚀 ✓", "${x} #{y}", " "]


@dataclass
class Deployed:
    """The project's schema with the two resolvers that carry tokens, in a MiniStack; and two users."""

    aws: AwsClients
    api_id: str
    users: list[dict[str, str]]

    def read(self) -> tuple[AppSyncApi, Callers]:
        return read_appsync_api(self.aws, self.api_id)


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AwsClients]:
    checkout = Checkout(tmp_path_factory.mktemp("checkout"))
    (checkout.root / ".tools").symlink_to(this_checkout().tools)
    checkout.prepare()
    checkout.clean()
    context = ministack(checkout, REGION)
    with asyncio.Runner() as runner:
        running = runner.run(context.__aenter__())
        try:
            yield AwsClients(running.endpoint, REGION)
        finally:
            runner.run(context.__aexit__(None, None, None))


def _create_api(aws: AwsClients, pool: str, **settings: Any) -> str:
    appsync = aws("appsync")
    api_id: str = appsync.create_graphql_api(
        name="tokenstream",
        authenticationType="AMAZON_COGNITO_USER_POOLS",
        userPoolConfig={"userPoolId": pool, "awsRegion": REGION, "defaultAction": "ALLOW"},
        additionalAuthenticationProviders=[{"authenticationType": "AWS_IAM"}],
        **settings,
    )["graphqlApi"]["apiId"]
    appsync.start_schema_creation(apiId=api_id, definition=(GRAPHQL / "schema.graphql").read_bytes())
    appsync.create_data_source(apiId=api_id, name="None", type="NONE")
    for type_name, field in (("Mutation", "publishToken"), ("Subscription", "onTokenReceived")):
        appsync.create_resolver(
            apiId=api_id,
            typeName=type_name,
            fieldName=field,
            dataSourceName="None",
            runtime=RUNTIME,
            code=(GRAPHQL / "resolvers" / f"{field}.js").read_text(),
        )
    return api_id


@pytest.fixture(scope="module")
def deployed(emulator: AwsClients) -> Deployed:
    cognito = emulator("cognito-idp")
    pool = cognito.create_user_pool(PoolName="users")["UserPool"]["Id"]
    client = cognito.create_user_pool_client(
        UserPoolId=pool, ClientName="client", ExplicitAuthFlows=["ALLOW_USER_PASSWORD_AUTH"]
    )["UserPoolClient"]["ClientId"]
    users = []
    for name in ("demo@example.com", "other@example.com"):
        user = create_user(emulator, pool, name)
        tokens = cognito.initiate_auth(
            ClientId=client,
            AuthFlow="USER_PASSWORD_AUTH",
            AuthParameters={"USERNAME": user.username, "PASSWORD": user.password},
        )["AuthenticationResult"]
        found = cognito.admin_get_user(UserPoolId=pool, Username=name)["UserAttributes"]
        sub = next(attribute["Value"] for attribute in found if attribute["Name"] == "sub")
        users.append({"id": tokens["IdToken"], "access": tokens["AccessToken"], "sub": sub})
    settings = {"introspectionConfig": "DISABLED", "queryDepthLimit": 7, "resolverCountLimit": 9}
    return Deployed(emulator, _create_api(emulator, pool, **settings), users)


@dataclass
class Front:
    host: str
    tls_host: str
    trust: ssl.SSLContext
    http: httpx.AsyncClient

    async def publish(self, session: str, owner: str, number: int, text: str | None) -> dict[str, Any]:
        url = f"http://{self.host}/graphql"
        body = json.dumps({"query": PUBLISH, "variables": {"id": session, "owner": owner, "n": number, "token": text}})
        response = await self.http.post(url, content=body, headers=signed(url, body))
        answer: dict[str, Any] = response.raise_for_status().json()
        return answer

    def subscriber(self, auth: Any) -> Client:
        transport = AppSyncWebsocketsTransport(
            f"wss://{self.tls_host}{REALTIME_MOUNT}", auth=auth, ssl=self.trust, ack_timeout=60, connect_timeout=60
        )
        return Client(transport=transport)


@pytest.fixture
async def front(deployed: Deployed, tmp_path: Path) -> AsyncIterator[Front]:
    api, callers = await asyncio.to_thread(deployed.read)
    app = web.Application()
    AppSyncFront(api, callers, deployed.aws.endpoint, Cuts()).add_to(app)
    certificate = RunCertificate()
    runner = web.AppRunner(app, auto_decompress=False, shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=certificate.server_context()).start()
        ports = [address[1] for address in runner.addresses]
        async with httpx.AsyncClient(timeout=60) as http:
            with certificate.published(tmp_path / "ca.pem"):
                trust = ssl.create_default_context(cafile=tmp_path / "ca.pem")
                yield Front(f"127.0.0.1:{ports[0]}", f"127.0.0.1:{ports[1]}", trust, http)
    finally:
        await runner.cleanup()


def test_the_api_is_read_as_it_is_deployed(deployed: Deployed) -> None:
    api, _ = deployed.read()
    assert api.limits == DocumentLimits(introspection=False, depth=7, resolvers=9)
    assert api.resolved_fields == {("Mutation", "publishToken"), ("Subscription", "onTokenReceived")}
    assert api.schema.subscriptions_of("publishToken") == ["onTokenReceived"]
    assert "toSubscriptionFilter" in api.subscription_resolvers["onTokenReceived"]
    assert api.domain == f"{deployed.api_id}.appsync-api.us-east-1.amazonaws.com"


def test_what_the_edge_does_not_do_ends_the_start(deployed: Deployed) -> None:
    appsync = deployed.aws("appsync")
    by_key = appsync.create_graphql_api(name="key", authenticationType="API_KEY")["graphqlApi"]["apiId"]
    with pytest.raises(StackError, match="API_KEY"):
        read_appsync_api(deployed.aws, by_key)
    broken = _create_api(deployed.aws, "us-east-1_x")
    appsync.start_schema_creation(apiId=broken, definition=b"type Query { x: Unknown }")
    with pytest.raises(StackError, match="Unknown"):
        read_appsync_api(deployed.aws, broken)
    other = _create_api(deployed.aws, "us-east-1_x")
    appsync.create_data_source(
        apiId=other, name="Table", type="AMAZON_DYNAMODB", dynamodbConfig={"tableName": "t", "awsRegion": REGION}
    )
    appsync.update_resolver(
        apiId=other,
        typeName="Subscription",
        fieldName="onTokenReceived",
        dataSourceName="Table",
        runtime=RUNTIME,
        code="x",
    )
    with pytest.raises(StackError, match=r"Subscription\.onTokenReceived"):
        read_appsync_api(deployed.aws, other)


def test_without_node_the_stack_does_not_start(
    deployed: Deployed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StackError, match="Node"):
        deployed.read()


async def test_gql_receives_what_is_published_in_order_and_exact_and_another_user_nothing(
    deployed: Deployed, front: Front
) -> None:
    user, other = deployed.users
    session = str(uuid4())
    auth = [AppSyncJWTAuthentication(host=front.tls_host, jwt=person["id"]) for person in (user, other)]
    received: list[list[str]] = [[], []]
    request = gql(SUBSCRIBE)
    request.variable_values = {"id": session}

    async def listen(client: Any, into: list[str]) -> None:
        async for result in client.subscribe(request):
            into.append(result["onTokenReceived"]["token"])  # noqa: PERF401 seen while it comes

    async with front.subscriber(auth[0]) as mine, front.subscriber(auth[1]) as theirs:
        listening = [asyncio.create_task(listen(mine, received[0])), asyncio.create_task(listen(theirs, received[1]))]
        try:
            async with asyncio.timeout(60):
                # gql doesn't tell when its subscription is acknowledged.
                number = 0
                while not (received[0] and received[1]):
                    for person in (user, other):
                        await front.publish(session, person["sub"], number, "ready?")
                for number, text in enumerate(AWKWARD):
                    answer = await front.publish(session, user["sub"], number, text)
                    assert answer["data"]["publishToken"]["isComplete"] is False
                while received[0][-1] != AWKWARD[-1]:
                    await asyncio.sleep(0.005)
        finally:
            for task in listening:
                task.cancel()
            await asyncio.gather(*listening, return_exceptions=True)
    assert received[0][-len(AWKWARD) :] == AWKWARD
    assert set(received[0][: -len(AWKWARD)]) == {"ready?"}
    assert set(received[1]) == {"ready?"}


async def test_gql_learns_why_it_may_not(deployed: Deployed, front: Front) -> None:
    request = gql(SUBSCRIBE)
    request.variable_values = {"id": str(uuid4())}

    async def subscribe(auth: Any) -> None:
        async with front.subscriber(auth) as client:
            async for _ in client.subscribe(request):
                pass

    with pytest.raises(TransportServerError, match="UnauthorizedException"):
        await subscribe(AppSyncJWTAuthentication(host=front.tls_host, jwt=deployed.users[0]["id"][:-5] + "AAAAA"))
    with pytest.raises(TransportQueryError, match="Unauthorized"):
        await subscribe(AppSyncJWTAuthentication(host=front.tls_host, jwt=deployed.users[0]["access"]))
    # Its signature is in order, for both; but a subscription is a user's.
    with pytest.raises(TransportQueryError, match="Not Authorized to access onTokenReceived on type Subscription"):
        await subscribe(AppSyncIAMAuthentication(host=front.tls_host, region_name=REGION, credentials=KEYS))
    wrong = Credentials(KEYS.access_key, "guessed")
    with pytest.raises(TransportServerError, match="BadRequestException"):
        await subscribe(AppSyncIAMAuthentication(host=front.tls_host, region_name=REGION, credentials=wrong))


async def test_gql_cannot_publish_as_a_user(deployed: Deployed, front: Front) -> None:
    transport = HTTPXAsyncTransport(
        f"https://{front.tls_host}/graphql", headers={"Authorization": deployed.users[0]["id"]}, verify=front.trust
    )
    request = gql(PUBLISH)
    request.variable_values = {"id": str(uuid4()), "owner": deployed.users[1]["sub"], "n": 1, "token": "forged"}
    async with Client(transport=transport) as client:
        with pytest.raises(TransportQueryError, match="Not Authorized to access publishToken on type Mutation"):
            await client.execute(request)


async def test_the_emulators_own_errors_pass(deployed: Deployed, front: Front) -> None:
    answer = await front.publish(str(uuid4()), "x", 1, None)
    assert answer["data"]["publishToken"]["token"] is None
    response = await front.http.post(
        f"http://{front.host}/graphql",
        json={"query": "mutation { cancelStream(sessionId: 1) { status } }"},
        headers={"Authorization": deployed.users[0]["id"]},
    )
    # It has no resolver here, and its result may not be null.
    assert response.status_code == 200
    assert response.json()["data"] is None
    assert response.json()["errors"]
