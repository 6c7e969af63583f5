"""What a client of AppSync's real-time protocol meets at the edge."""

import asyncio
import base64
import json
import ssl
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest
from websockets.typing import Subprotocol

from local.edge.appsync_callers import AuthMode
from local.edge.appsync_connection import MESSAGE_BYTES, RealtimeLimits
from local.edge.appsync_operation import DocumentLimits
from tests.local.appsync_fakes import (
    ALL_FIELDS,
    OTHER_KEY,
    PUBLISH,
    SESSION,
    STRANGER,
    SUBSCRIBE,
    USER,
    Client,
    Setup,
    access_token,
    api_of,
    encoded,
    published,
    running_appsync,
    signed,
    token,
)
from tests.local.websocket_fakes import hear_to_the_end, until

OTHER_SESSION = str(uuid4())
AWKWARD = 'a "quote"\\ \n\t\0 \u202eright to left\u2028 🚀 ✓ ${x} #{y}'


async def nothing_but(client: Client, setup: Setup, **marker: Any) -> dict[str, Any]:
    """Give what comes first behind everything that was published so far: an event made for this."""
    await setup.publish(**marker)
    return await client.receive()


# -- connecting


async def test_the_protocol_byte_for_byte(tmp_path: Path) -> None:
    async with running_appsync(tmp_path) as setup, setup.dial() as connection:
        assert connection.subprotocol == "graphql-ws"
        assert connection.response is not None
        assert "Sec-WebSocket-Extensions" not in connection.response.headers
        await connection.send('{"type":"connection_init","payload":{}}')
        assert await connection.recv() == '{"payload":{"connectionTimeoutMs":300000},"type":"connection_ack"}'
        assert await connection.recv() == '{"type":"ka"}'
        data = json.dumps({"query": f'subscription {{ onTokenReceived(sessionId: "{SESSION}") {{ token owner }} }}'})
        authorization = {"Authorization": token(), "host": setup.host}
        start = {"id": "7", "type": "start", "payload": {"data": data, "extensions": {"authorization": authorization}}}
        await connection.send(json.dumps(start))
        assert await connection.recv() == '{"id":"7","type":"start_ack"}'
        await setup.publish(token="Hi ✓")
        assert await connection.recv() == (
            '{"id":"7","payload":{"data":{"onTokenReceived":{"token":"Hi ✓","owner":"user-1"}}},"type":"data"}'
        )
        await connection.send('{"id":"7","type":"stop"}')
        assert await connection.recv() == '{"id":"7","type":"complete"}'
        await connection.close()
        await until(lambda: len(setup.log) == 2)
        assert setup.log[1].startswith("GET /graphql/realtime 101 ")
        assert setup.log[1].endswith(" (1000, 3 in 5 out)")


@pytest.mark.parametrize("path", ["/graphql", "/graphql/realtime"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("escape", [str, quote], ids=["bare", "escaped"])
async def test_older_clients_put_their_headers_into_the_address(
    tmp_path: Path, path: str, encode: Any, escape: Any
) -> None:
    async with running_appsync(tmp_path) as setup:
        headers = {"Authorization": token(), "host": setup.host}
        # Such that its base64 has a plus and a slash, where that alphabet has them.
        texts = (json.dumps({"x": "." * number + "~~~???>>>", **headers}).encode() for number in range(3))
        text = next(text for text in texts if {"+", "/"} <= set(base64.b64encode(text).decode()))
        header = encode(text).decode()
        url = f"ws://{setup.host}{path}?header={escape(header)}&payload={escape('e30=')}"
        async with setup.connected(url=url, subprotocols=[Subprotocol("graphql-ws")]) as client:
            await client.subscribed()


async def test_an_init_is_not_needed(tmp_path: Path) -> None:
    async with running_appsync(tmp_path) as setup, setup.dial() as connection:
        await Client(connection, setup.host).subscribed()


@pytest.mark.parametrize(
    ("headers", "code", "type_", "message"),
    [
        ({}, 400, "BadRequestException", "Required headers are missing."),
        ({"host": "127.0.0.1"}, 401, "UnauthorizedException", "Valid authorization header not provided."),
        ({"Authorization": token()}, 401, "UnauthorizedException", "You are not authorized to make this call."),
        (
            {"host": "other.appsync-api.us-east-1.amazonaws.com", "Authorization": token()},
            401,
            "UnauthorizedException",
            "You are not authorized to make this call.",
        ),
        (
            {"host": "127.0.0.1", "Authorization": token(OTHER_KEY)},
            401,
            "UnauthorizedException",
            "You are not authorized to make this call.",
        ),
        (
            {"host": "127.0.0.1", "Authorization": token(exp=int(time.time()) - 5)},
            401,
            "UnauthorizedException",
            "Token has expired.",
        ),
    ],
    ids=["none", "no token", "no host", "foreign host", "foreign key", "expired"],
)
async def test_a_client_without_a_good_token_learns_why_in_its_first_answer(
    tmp_path: Path, headers: dict[str, str], code: int, type_: str, message: str
) -> None:
    async with running_appsync(tmp_path) as setup, setup.dial(headers) as connection:
        await connection.send('{"type":"connection_init"}')
        assert json.loads(await connection.recv()) == {
            "type": "connection_error",
            "payload": {"errors": [{"errorType": type_, "message": message, "errorCode": code}]},
        }
        assert await hear_to_the_end(connection) == ([], 1000)


@pytest.mark.parametrize(
    "offered",
    [
        ["header-!!!", "graphql-ws"],
        ["graphql-ws", "header-" + encoded({})],
        ["graphql-ws", "header-e30", "header-e30"],
        ["graphql-ws", "header-" + base64.urlsafe_b64encode(b"[1]").decode().rstrip("=")],
        ["graphql-ws", "header-" + base64.urlsafe_b64encode(b'{"host": 1}').decode().rstrip("=")],
        ["graphql-ws", "header-" + base64.urlsafe_b64encode(b'{"host": "a", "Host": "b"}').decode().rstrip("=")],
        ["graphql-ws"],
    ],
)
async def test_headers_that_cannot_be_read_are_missing(tmp_path: Path, offered: list[str]) -> None:
    subprotocols = [Subprotocol(name) for name in offered]
    async with (
        running_appsync(tmp_path) as setup,
        setup.dial(subprotocols=subprotocols) as connection,
    ):
        await connection.send('{"type":"connection_init"}')
        answer = json.loads(await connection.recv())
        assert answer["payload"]["errors"][0]["message"] == "Required headers are missing."


async def test_a_client_of_another_protocol_is_told_so(tmp_path: Path) -> None:
    async with running_appsync(tmp_path) as setup, setup.dial(subprotocols=None) as connection:
        await connection.send('{"type":"connection_init"}')
        assert json.loads(await connection.recv())["payload"] == {
            "errors": [{"message": "NoProtocolError", "errorCode": 400}]
        }


async def test_keys_that_cannot_be_read_are_no_refusal_of_the_user(tmp_path: Path) -> None:
    async with running_appsync(tmp_path) as setup:
        setup.backend.keys_readable = False
        async with setup.dial() as connection:
            await connection.send('{"type":"connection_init"}')
            assert json.loads(await connection.recv())["payload"]["errors"][0]["errorCode"] == 500


async def test_a_plain_request_is_told_to_upgrade_and_a_page_cannot_connect_by_rebinding(tmp_path: Path) -> None:
    async with running_appsync(tmp_path) as setup:
        assert (await setup.http.get(setup.url, headers={"Authorization": token()})).status_code == 400
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Protocol": "graphql-ws"}
        rebound = await setup.http.get(setup.url, headers={"Host": "evil.example", **upgrade})
        assert rebound.status_code == 403


async def test_tls_with_the_runs_own_authority(tmp_path: Path) -> None:
    async with running_appsync(tmp_path) as setup:
        url = f"wss://localhost:{setup.tls_host.partition(':')[2]}/graphql/realtime"
        async with setup.connected(url=url, ssl=setup.trust()) as client:
            await client.subscribed()
            await setup.publish(token=AWKWARD)
            assert [event["token"] for event in await client.events(1)] == [AWKWARD]
        async with httpx.AsyncClient(verify=setup.trust()) as http:
            assert (await http.post(setup.tls_url)).status_code == 401
        with pytest.raises(ssl.SSLCertVerificationError):
            await setup.dial(url=url)
        assert setup.ca.read_bytes().startswith(b"-----BEGIN CERTIFICATE-----")
    assert not setup.ca.exists()


# -- subscribing


async def test_every_subscriber_of_a_session_gets_the_same_exact_text_in_order(tmp_path: Path) -> None:
    texts = [f"{number} {AWKWARD}" for number in range(30)]
    async with (
        running_appsync(tmp_path) as setup,
        setup.connected() as one,
        setup.connected() as other,
    ):
        await one.subscribed("a")
        await one.subscribed("b")
        await other.subscribed()
        for number, text in enumerate(texts):
            await setup.publish(n=number, token=text)
        assert [event["token"] for event in await other.events(30)] == texts
        received = [await one.receive() for _ in range(60)]
        for id_ in "ab":
            mine = [message for message in received if message["id"] == id_]
            assert [message["payload"]["data"]["onTokenReceived"]["token"] for message in mine] == texts


async def test_a_session_that_is_somebody_elses_and_one_that_does_not_exist_look_the_same(tmp_path: Path) -> None:
    async with running_appsync(tmp_path) as setup:
        stranger = {"host": setup.host, "Authorization": token(sub=STRANGER)}
        async with setup.connected(stranger) as client:
            acknowledged = [
                await client.start("1", variables={"id": SESSION}, headers=stranger),
                await client.start("1x", variables={"id": OTHER_SESSION}, headers=stranger),
            ]
            assert acknowledged == [{"type": "start_ack", "id": "1"}, {"type": "start_ack", "id": "1x"}]
            await setup.publish()
            # Nothing came of the user's session before the stranger's own.
            own = await nothing_but(client, setup, id=OTHER_SESSION, owner=STRANGER, token="his own")
            assert (own["id"], own["payload"]["data"]["onTokenReceived"]["token"]) == ("1x", "his own")


async def test_a_subscription_is_for_the_token_it_came_with_not_for_the_connections(tmp_path: Path) -> None:
    async with running_appsync(tmp_path) as setup, setup.connected() as client:
        stranger = {"host": setup.host, "Authorization": token(sub=STRANGER)}
        assert (await client.start("1", headers=stranger))["type"] == "start_ack"
        await setup.publish()
        event = await nothing_but(client, setup, owner=STRANGER, token="the stranger's")
        assert event["payload"]["data"]["onTokenReceived"]["token"] == "the stranger's"
        refused = await client.start("2", headers={"host": setup.host, "Authorization": "expired"})
        assert refused["payload"]["errors"][0]["errorType"] == "UnauthorizedException"
        refused = await client.start("2", headers={"Authorization": token()})
        assert refused["payload"]["errors"][0]["errorType"] == "UnauthorizedException"


async def test_only_what_is_selected_comes_under_the_names_that_were_asked_for(tmp_path: Path) -> None:
    query = """
      subscription ($id: ID!, $long: Boolean = false) {
        received: onTokenReceived(sessionId: $id) {
          text: token __typename
          ...Numbers
          ... on TokenEvent @include(if: $long) { frame }
        }
      }
      fragment Numbers on TokenEvent { attempt, sequence }
    """
    async with running_appsync(tmp_path) as setup, setup.connected() as client:
        await client.subscribed("1", query)
        await setup.publish()
        assert (await client.receive())["payload"] == {
            "data": {"received": {"text": "Hi", "__typename": "TokenEvent", "attempt": 1, "sequence": 1}}
        }


async def test_what_the_mutation_does_not_select_is_null_for_the_subscriber(tmp_path: Path) -> None:
    def answer(_: dict[str, Any]) -> tuple[int, Any]:
        return 200, {"data": {"publishToken": {name: published()[name] for name in ("sessionId", "owner", "type")}}}

    mutation = PUBLISH.replace(ALL_FIELDS, "sessionId owner type")
    async with running_appsync(tmp_path, answer) as setup, setup.connected() as client:
        await client.subscribed("1", SUBSCRIBE.replace(ALL_FIELDS, "type token"))
        await setup.publish(mutation)
        assert (await client.receive())["payload"] == {"data": {"onTokenReceived": {"type": "token", "token": None}}}
        await client.subscribed("2", SUBSCRIBE.replace(ALL_FIELDS, "type timestamp"))
        await setup.publish(mutation)
        assert [(await client.receive())["id"], (message := await client.receive())["id"]] == ["1", "2"]
        assert message["payload"] == {
            "data": {"onTokenReceived": None},
            "errors": [
                {
                    "message": "Cannot return null for non-nullable type: 'AWSDateTime' within parent 'TokenEvent' "
                    "(/onTokenReceived/timestamp)",
                    "path": ["onTokenReceived", "timestamp"],
                }
            ],
        }


async def test_a_mutation_that_does_not_select_what_is_filtered_by_reaches_nobody(tmp_path: Path) -> None:
    def answer(document: dict[str, Any]) -> tuple[int, Any]:
        names = [name for name in published() if name in document["query"].partition(") {")[2]]
        return 200, {"data": {"publishToken": {name: published()[name] for name in names}}}

    async with running_appsync(tmp_path, answer) as setup, setup.connected() as client:
        await client.subscribed("1", SUBSCRIBE.replace(ALL_FIELDS, "token owner"))
        for lacking in ("owner", "sessionId"):
            await setup.publish(PUBLISH.replace(ALL_FIELDS, ALL_FIELDS.replace(lacking, "")))
        event = await nothing_but(client, setup)
        assert event["payload"]["data"]["onTokenReceived"] == {"token": "Hi", "owner": USER}
        await client.send(id="1", type="stop")
        assert await client.receive() == {"id": "1", "type": "complete"}


async def test_a_mutations_aliases_do_not_reach_the_subscriber(tmp_path: Path) -> None:
    event = published()
    renamed = {"data": {"p": {f"x_{name}": value for name, value in event.items()}}}
    selection = " ".join(f"x_{name}: {name}" for name in event)
    mutation = PUBLISH.replace("publishToken(", "p: publishToken(").replace(ALL_FIELDS, f"...F {selection}")
    mutation += " fragment F on TokenEvent { x_token: token }"
    async with running_appsync(tmp_path, lambda _: (200, renamed)) as setup, setup.connected() as client:
        await client.subscribed()
        await setup.publish(mutation)
        assert await client.events(1) == [event]


async def test_a_mutation_that_fails_publishes_nothing(tmp_path: Path) -> None:
    good = {"data": {"publishToken": published(text="good")}}
    answers: list[tuple[int, Any]] = [
        (200, {"data": None, "errors": [{"message": "no"}]}),
        (200, {"data": {"publishToken": None}}),
        (500, {"data": {"publishToken": published(text="bad")}}),
        (200, b"no JSON"),
        (200, []),
        (200, {"data": []}),
        (200, good),
    ]
    script = iter(answers)
    async with running_appsync(tmp_path, lambda _: next(script)) as setup, setup.connected() as client:
        await client.subscribed()
        body = json.dumps({"query": PUBLISH, "variables": {"id": SESSION, "owner": USER, "n": 1}})
        for _ in answers:
            await setup.http.post(setup.url, content=body, headers=signed(setup.url, body))
        assert [event["token"] for event in await client.events(1)] == ["good"]


async def test_after_a_stop_nothing_more_comes_and_the_id_is_free_again(tmp_path: Path) -> None:
    async with running_appsync(tmp_path) as setup, setup.connected() as client:
        await client.subscribed("1")
        await client.subscribed("2")
        await client.send(id="1", type="stop")
        assert await client.receive() == {"id": "1", "type": "complete"}
        await setup.publish()
        assert (await client.receive())["id"] == "2"
        await client.subscribed("1")
        await client.send(id="3", type="stop")
        assert (await client.receive())["payload"]["errors"][0]["errorType"] == "UnknownOperationError"


async def test_a_connection_has_a_hundred_subscriptions_at_most_each_with_an_id_of_its_own(tmp_path: Path) -> None:
    async with running_appsync(tmp_path, limits=RealtimeLimits()) as setup, setup.connected() as client:
        for number in range(100):
            await client.subscribed(str(number))
        refused = await client.start("100")
        assert refused == {
            "id": "100",
            "type": "error",
            "payload": {
                "errors": [
                    {
                        "errorType": "MaxSubscriptionsReachedError",
                        "message": "Max number of 100 subscriptions reached",
                    }
                ]
            },
        }
        assert (await client.start("5"))["payload"]["errors"][0]["errorType"] == "DuplicatedOperationError"
        await client.send(id="5", type="stop")
        assert (await client.receive())["type"] == "complete"
        await client.subscribed("100")


@pytest.mark.parametrize(
    ("query", "variables", "type_", "message"),
    [
        ("{ getStream(sessionId: 1) { status } }", {}, "UnsupportedOperation", "query not supported through the"),
        ("mutation { cancelStream(sessionId: 1) { status } }", {}, "UnsupportedOperation", "mutation not supported"),
        ("subscription {", {}, "MalformedHttpRequestException", "Unable to parse GraphQL query."),
        ("subscription { nothing }", {}, None, "Cannot query field 'nothing' on type 'Subscription'."),
        (SUBSCRIBE, {}, "BadRequestException", "Variable '$id' has invalid value"),
        (SUBSCRIBE, {"id": {}}, "BadRequestException", "Variable '$id' has invalid value"),
        (SUBSCRIBE, {"id": "x"}, "InvalidRequest", "A session id is a UUID, with its hyphens."),
    ],
)
async def test_what_cannot_be_subscribed_to_is_told_with_the_id_of_the_message(
    tmp_path: Path, query: str, variables: dict[str, Any], type_: str | None, message: str
) -> None:
    async with running_appsync(tmp_path) as setup, setup.connected() as client:
        answer = await client.start("9", query, variables)
        assert (answer["type"], answer["id"]) == ("error", "9")
        [error] = answer["payload"]["errors"]
        assert error.get("errorType") == type_
        assert message in error["message"]
        await client.subscribed("9")


async def test_an_access_token_is_no_id_token(tmp_path: Path) -> None:
    async with running_appsync(tmp_path) as setup, setup.connected() as client:
        refused = await client.start("1", headers={"host": setup.host, "Authorization": access_token()})
        assert [error["errorType"] for error in refused["payload"]["errors"]] == ["Unauthorized"]


async def test_the_functions_cannot_subscribe_unless_the_schema_lets_them(tmp_path: Path) -> None:
    open_sdl = """
      type Query { x: Int }
      type Mutation { publishToken(sessionId: ID!): Event @aws_iam }
      type Subscription { onToken(sessionId: ID): Event @aws_subscribe(mutations: ["publishToken"]) @aws_iam }
      type Event @aws_iam { sessionId: ID }
    """
    publish = 'mutation { publishToken(sessionId: "s") { sessionId } }'
    answer = {"data": {"publishToken": {"sessionId": "s"}}}
    query = "subscription { onToken { sessionId } }"

    def headers(setup: Setup, path: str, body: str) -> dict[str, str]:
        return {**signed(f"https://{setup.host}{path}", body), "host": setup.host}

    async with running_appsync(tmp_path) as setup:
        data = json.dumps({"query": SUBSCRIBE, "variables": {"id": SESSION}})
        async with setup.connected(headers(setup, "/graphql/connect", "{}")) as client:
            refused = await client.start("1", headers=headers(setup, "/graphql", data))
            assert [error["message"] for error in refused["payload"]["errors"]] == [
                "Not Authorized to access onTokenReceived on type Subscription"
            ]
    async with (
        running_appsync(tmp_path, lambda _: (200, answer), api=api_of(open_sdl, resolvers={})) as setup,
        setup.connected(headers(setup, "/graphql/connect", "{}")) as client,
    ):
        data = json.dumps({"query": query, "variables": {}})
        assert (await client.start("1", query, {}, headers(setup, "/graphql", data)))["type"] == "start_ack"
        await setup.publish(publish)
        assert (await client.receive())["payload"] == {"data": {"onToken": {"sessionId": "s"}}}
        # A signature of another text.
        refused = await client.start("2", query, {}, headers(setup, "/graphql", data + " "))
        assert refused["payload"]["errors"][0]["errorType"] == "BadRequestException"


async def test_without_a_resolver_the_arguments_that_are_given_filter_alone(tmp_path: Path) -> None:
    sdl = """
      type Query { x: Int }
      type Mutation { say(a: Int, b: String): Said other(a: Int): Said }
      type Subscription { onSay(a: Int, b: String = "x", other: Int): Said @aws_subscribe(mutations: ["say"]) }
      type Said { a: Int b: String }
    """

    def answer(document: dict[str, Any]) -> tuple[int, Any]:
        field = "other" if "other" in document["query"] else "say"
        return 200, {"data": {field: document["variables"]}}

    async with (
        running_appsync(tmp_path, answer, api=api_of(sdl, modes=(AuthMode.COGNITO,), resolvers={})) as setup,
        setup.connected() as client,
    ):
        for id_, arguments in (("one", "(a: 1)"), ("none", "(a: null, b: null)"), ("default", "(other: 5)")):
            assert (await client.start(id_, f"subscription {{ onSay{arguments} {{ a b }} }}", {}))[
                "type"
            ] == "start_ack"
        said = "mutation ($a: Int, $b: String) { say(a: $a, b: $b) { a b } }"
        for variables, ids in (
            ({"a": 1, "b": "x"}, {"one", "default"}),
            ({"a": 2, "b": "x"}, {"default"}),
            ({"a": None, "b": None}, {"none"}),
        ):
            # A mutation that feeds nobody.
            other = said.replace("say(a: $a, b: $b)", "other(a: $a)").replace(", $b: String", "")
            await setup.post(other, variables)
            await setup.post(said, variables)
            assert {(await client.receive())["id"] for _ in ids} == ids


async def test_a_resolver_that_breaks_down_is_the_stacks_fault_and_stands_in_the_log(tmp_path: Path) -> None:
    api = api_of(
        resolvers={"onTokenReceived": "export function request() { return nothing; } export const response = request;"}
    )
    async with running_appsync(tmp_path, api=api) as setup, setup.connected() as client:
        refused = await client.start("1")
        assert refused["payload"]["errors"] == [{"errorType": "InternalFailure", "message": "Internal failure."}]
        assert setup.log == ["APPSYNC onTokenReceived: nothing is not defined"]


async def test_depth_is_bounded_here_as_well(tmp_path: Path) -> None:
    api = api_of(limits=DocumentLimits(introspection=False, depth=1))
    async with running_appsync(tmp_path, api=api) as setup, setup.connected() as client:
        refused = await client.start("1")
        assert [error["errorType"] for error in refused["payload"]["errors"]] == ["QueryDepthLimitReached"]


# -- messages


@pytest.mark.parametrize(
    ("message", "id_", "type_"),
    [
        ("no JSON", None, "BadRequestException"),
        ("[" * 100_000, None, "BadRequestException"),
        ("[]", None, "BadRequestException"),
        ("{}", None, "BadRequestException"),
        ('{"type": 1}', None, "BadRequestException"),
        ('{"type": "publish", "id": "1"}', None, "UnsupportedOperation"),
        ('{"type": "start"}', None, "BadRequestException"),
        ('{"type": "start", "id": ""}', "", "BadRequestException"),
        ('{"type": "start", "id": "1"}', "1", "BadRequestException"),
        ('{"type": "start", "id": "1", "payload": {"data": {}}}', "1", "BadRequestException"),
        ('{"type": "start", "id": "1", "payload": {"data": "{}"}}', "1", "BadRequestException"),
        ('{"type": "stop"}', None, "BadRequestException"),
    ],
)
async def test_a_message_that_is_none_costs_no_subscription(
    tmp_path: Path, message: str, id_: str | None, type_: str
) -> None:
    async with running_appsync(tmp_path) as setup, setup.connected() as client:
        await client.subscribed("7")
        await client.connection.send(message)
        answer = await client.receive()
        assert (answer["type"], answer.get("id"), answer["payload"]["errors"][0]["errorType"]) == ("error", id_, type_)
        await setup.publish()
        assert (await client.receive())["id"] == "7"


async def test_half_a_surrogate_pair_breaks_nothing(tmp_path: Path) -> None:
    async with running_appsync(tmp_path) as setup, setup.connected() as client:
        await client.subscribed()
        await setup.publish(token="\ud83d")
        assert [event["token"] for event in await client.events(1)] == ["\ud83d"]
        data = json.dumps({"query": SUBSCRIBE, "variables": {"id": "\ud83d"}}, ensure_ascii=False)
        payload = {"data": data, "extensions": {"authorization": {"host": setup.host, "Authorization": token()}}}
        await client.send(id="2", type="start", payload=payload)
        assert (await client.receive())["payload"]["errors"][0]["errorType"] == "InvalidRequest"


async def test_a_binary_message_and_one_over_240_kb_cost_the_connection(tmp_path: Path) -> None:
    async with running_appsync(tmp_path) as setup:
        async with setup.connected() as client:
            await client.connection.send(b"{}")
            assert await hear_to_the_end(client.connection) == ([], 1003)
        async with setup.connected() as client:
            await client.connection.send("x" * MESSAGE_BYTES)
            assert (await client.receive())["type"] == "error"
            await client.connection.send("x" * (MESSAGE_BYTES + 1))
            assert await hear_to_the_end(client.connection) == ([], 1009)


async def test_the_connection_is_kept_alive_and_a_ping_is_answered(tmp_path: Path) -> None:
    async with running_appsync(tmp_path, limits=RealtimeLimits(keep_alive=0.01)) as setup, setup.dial() as connection:
        await (await connection.ping())
        await connection.send('{"type":"connection_init"}')
        await connection.send('{"type":"connection_init"}')
        kinds: Counter[str] = Counter()
        async with asyncio.timeout(60):
            while kinds["connection_ack"] < 2 or kinds["ka"] < 5:
                kinds[json.loads(await connection.recv())["type"]] += 1
        assert set(kinds) == {"connection_ack", "ka"}


async def test_an_event_over_240_kb_is_dropped_and_the_next_one_comes(tmp_path: Path) -> None:
    async with running_appsync(tmp_path) as setup:
        async with setup.connected(max_size=None) as client:
            await client.subscribed("1", SUBSCRIBE.replace(ALL_FIELDS, "token"))
            envelope = len('{"id":"1","payload":{"data":{"onTokenReceived":{"token":""}}},"type":"data"}')
            await setup.publish(token="x" * (MESSAGE_BYTES - envelope + 1))
            await setup.publish(token="x" * (MESSAGE_BYTES - envelope))
            assert [len(event["token"]) for event in await client.events(1)] == [MESSAGE_BYTES - envelope]
        assert "APPSYNC an event of 245761 B dropped" in setup.log


async def test_a_client_that_does_not_read_is_cut_off_and_holds_nobody_up(tmp_path: Path) -> None:
    async with (
        running_appsync(tmp_path, limits=RealtimeLimits(waiting_bytes=1024 * 1024)) as setup,
        setup.connected(max_queue=1) as slow,
        setup.connected(max_queue=None) as quick,
    ):
        await slow.subscribed()
        await quick.subscribed()
        count = 0
        # The kernel's buffers take some megabytes first.
        while not any("too slow" in line for line in setup.log):
            await setup.publish(n=count, token="x" * 200_000)
            assert [event["sequence"] for event in await quick.events(1)] == [count]
            count += 1
            assert count < 1000
        messages, code = await hear_to_the_end(slow.connection)
        assert len(messages) < count
        assert code == 1006


# -- the end


async def test_a_client_that_vanishes_is_forgotten(tmp_path: Path) -> None:
    async with running_appsync(tmp_path) as setup, setup.connected() as staying:
        async with setup.connected() as leaving:
            await leaving.subscribed()
            leaving.connection.transport.abort()
        await until(lambda: setup.cuts.streaming()["appsync"] == 1)
        assert setup.front._realtime.subscriptions._deliveries == {}
        await staying.subscribed()
        await setup.publish()
        assert len(await staying.events(1)) == 1


async def test_cuts_drop_connections_at_once_or_behind_so_many_messages(tmp_path: Path) -> None:
    async with running_appsync(tmp_path) as setup:

        async def cut(**order: Any) -> int:
            response = await setup.http.post(f"http://{setup.host}/_control/cut", json={"path": "appsync", **order})
            number: int = response.raise_for_status().json()["cut"]
            return number

        async with setup.connected() as one, setup.connected() as other:
            assert await cut() == 2
            for client in (one, other):
                assert await hear_to_the_end(client.connection) == ([], 1006)
        assert await cut(afterMessages=5) == 0
        async with setup.connected() as client:
            await client.subscribed()
            for number in range(5):
                await setup.publish(n=number)
            messages, code = await hear_to_the_end(client.connection)
            # Behind the acknowledgements and the first `ka`.
            assert [json.loads(message)["type"] for message in messages] == ["data", "data"]
            assert code == 1006


async def test_the_end_of_the_stack_says_goodbye_and_does_not_wait_for_who_does_not_listen(tmp_path: Path) -> None:
    async with running_appsync(tmp_path, limits=RealtimeLimits(waiting_bytes=1024**3)) as setup:
        clients = [await setup.dial(max_queue=queue) for queue in (16, 1)]
        deaf = Client(clients[1], setup.host)
        await deaf.subscribed()
        for number in range(100):
            await setup.publish(n=number, token="x" * 100_000)
        goodbye = asyncio.create_task(hear_to_the_end(clients[0]))
    assert await goodbye == ([], 1001)
    for connection in clients:
        connection.transport.abort()
        await connection.wait_closed()


async def test_the_log_has_no_token(tmp_path: Path) -> None:
    async with running_appsync(tmp_path) as setup:
        header = encoded({"host": setup.host, "Authorization": "secret"})
        url = f"{setup.realtime_url}?header={header}"
        async with setup.dial(url=url, subprotocols=[Subprotocol("graphql-ws")]) as connection:
            await connection.send('{"type":"connection_init"}')
            await connection.recv()
        await until(lambda: setup.log)
        assert setup.log[0].endswith("(1000, refused)")
        assert header not in setup.log[0]
