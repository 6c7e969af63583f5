import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import time
from typing import Any

import pytest

from tests.fakes.log_lines import log_lines
from tests.function_module import Context, load_function
from tests.integration.scripted_endpoint import Exchange, refused, scripted_endpoint, status_line
from tests.unit.user_pool import CLIENT_ID, SUB, SigningKey, claims
from tokenstream.auth import MAX_TOKEN_CHARACTERS, KeysUnavailable

ROOT = Path(__file__).parents[2]
KEY = SigningKey.generate("key")
OTHER_KEY = SigningKey.generate("key")
POOL = "us-east-1_pool"
METHOD = "arn:aws:execute-api:us-east-1:000000000000:w1x2y3z4a5/dev/$connect"


ISSUER = f"https://cognito-idp.us-east-1.amazonaws.com/{POOL}"


def signed(key: SigningKey = KEY, **changes: Any) -> str:
    return key.sign(claims(**{"iss": ISSUER, **changes}))


def event(protocols: str | None = None, **query: str) -> dict[str, Any]:
    """Return the sample event, with these subprotocols and this query."""
    sample: dict[str, Any] = json.loads((ROOT / "events" / "ws_authorize" / "no_token.json").read_text())
    if protocols is not None:
        sample["headers"]["Sec-WebSocket-Protocol"] = protocols
        sample["multiValueHeaders"]["Sec-WebSocket-Protocol"] = [protocols]
    return sample | {"queryStringParameters": query}


def _keys(exchange: Exchange) -> None:
    body = json.dumps({"keys": [KEY.jwk]}).encode()
    exchange.raw(status_line(200) + b"Content-Length: %d\r\n\r\n" % len(body) + body)


def load(endpoint: str) -> Any:
    return load_function(
        "ws_authorize",
        USER_POOL_ID=POOL,
        USER_POOL_CLIENT_ID=CLIENT_ID,
        AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER=endpoint,
    )


@pytest.fixture(scope="module")
def authorize() -> Iterator[Any]:
    """The function, started once as on Lambda."""
    with scripted_endpoint(*[_keys] * 10) as keys:
        function = load(keys.url)
        yield lambda event: function.handler(event, Context())


def decision(policy: dict[str, Any]) -> tuple[str, str]:
    [statement] = policy["policyDocument"]["Statement"]
    assert statement["Action"] == "execute-api:Invoke"
    return statement["Effect"], statement["Resource"]


@pytest.mark.parametrize("way", ["subprotocol", "query"])
def test_a_user_gets_in_by_either_way_of_passing_the_token(authorize: Any, way: str) -> None:
    token = signed()
    policy = authorize(event(f"tokenstream, {token}") if way == "subprotocol" else event(token=token))
    assert decision(policy) == ("Allow", METHOD)


def test_the_routes_learn_who_it_is_and_for_how_long(authorize: Any) -> None:
    expires_at = int(time()) + 60
    policy = authorize(event(f"tokenstream, {signed(exp=expires_at)}"))
    assert policy["principalId"] == SUB
    assert policy["context"] == {"sub": SUB, "expiresAt": str(expires_at)}


def test_api_gateway_can_read_the_policy(authorize: Any) -> None:
    policy = authorize(event(token=signed()))
    assert policy["policyDocument"]["Version"] == "2012-10-17"
    # Its context takes no lists and no objects.
    assert all(isinstance(value, str) for value in policy["context"].values())
    assert json.loads(json.dumps(policy)) == policy


BAD: dict[str, Callable[[], dict[str, Any]]] = {
    "missing": event,
    "only the protocol": lambda: event("tokenstream"),
    "garbage": lambda: event("tokenstream, not.a.token"),
    "garbage in the query": lambda: event(token="garbage"),
    "expired": lambda: event(f"tokenstream, {signed(exp=int(time()) - 1)}"),
    "another client's": lambda: event(token=signed(aud="another")),
    "an access token": lambda: event(token=signed(token_use="access")),
    "another pool's": lambda: event(token=signed(iss=ISSUER + "2")),
    "signed by somebody else": lambda: event(token=signed(OTHER_KEY)),
    "too long": lambda: event(token="a" * (MAX_TOKEN_CHARACTERS + 1)),
}


@pytest.mark.parametrize("case", BAD)
def test_whoever_has_no_valid_token_stays_outside(authorize: Any, case: str) -> None:
    policy = authorize(BAD[case]())
    assert decision(policy) == ("Deny", METHOD)
    assert "context" not in policy


def test_a_token_is_in_no_log(authorize: Any, capfd: pytest.CaptureFixture[str]) -> None:
    tokens = [signed(), signed(exp=0), signed(OTHER_KEY), "not.a.token"]
    with log_lines() as lines:
        for token in tokens:
            authorize(event(f"tokenstream, {token}"))
            authorize(event(token=token))
    logged = "\n".join([*lines, *capfd.readouterr()])
    assert "connection refused" in logged
    for token in tokens:
        assert not [part for part in token.split(".") if len(part) > 5 and part in logged]


def test_a_refusal_is_logged_with_its_cause(authorize: Any) -> None:
    with log_lines() as lines:
        authorize(event(token=signed(exp=0)))
    [line] = {line for line in lines if "connection refused" in line}
    for detail in ('"connection_id":"VqYb2cO1IAMCIhw="', '"error_code":"unauthorized"', "The token has expired."):
        assert detail in line


def test_keys_that_cannot_be_read_are_no_refusal() -> None:
    # A client that gets 403 signs in anew; one that gets 500 tries again.
    with scripted_endpoint(refused(500)) as keys:
        function = load(keys.url)
        with pytest.raises(KeysUnavailable):
            function.handler(event(token=signed()), Context())


@pytest.mark.parametrize("sample", ["bad_token", "no_token"])
def test_the_samples_without_a_good_token_are_refused(authorize: Any, sample: str) -> None:
    assert (
        decision(authorize(json.loads((ROOT / "events" / "ws_authorize" / f"{sample}.json").read_text())))[0] == "Deny"
    )


@pytest.mark.parametrize("sample", ["subprotocol", "query_token"])
def test_the_samples_let_a_user_in_once_they_have_a_token(authorize: Any, sample: str) -> None:
    text = (ROOT / "events" / "ws_authorize" / f"{sample}.json").read_text()
    filled = text.replace("PUT-AN-ID-TOKEN-HERE", signed())
    assert decision(authorize(json.loads(filled))) == ("Allow", METHOD)


def test_a_handshake_does_not_wait_for_the_sdk_to_be_imported() -> None:
    program = "import sys, app; sys.exit(bool({'boto3', 'botocore.session', 'botocore.client'} & sys.modules.keys()))"
    environment = {
        "PYTHONPATH": f"{ROOT / 'layers' / 'tokenstream'}:{ROOT / 'functions' / 'ws_authorize'}",
        "AWS_REGION": "us-east-1",
        "USER_POOL_ID": POOL,
        "USER_POOL_CLIENT_ID": CLIENT_ID,
        "POWERTOOLS_METRICS_NAMESPACE": "tokenstream",
    }
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)  # noqa: S603 - this interpreter
