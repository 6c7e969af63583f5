import json
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from time import time
from typing import Any

import pytest

from tests.unit.user_pool import CLIENT_ID, ISSUER, SUB, SigningKey, claims, hs256, token
from tokenstream.auth import (
    JWKS_REFRESH_SECONDS,
    MAX_TOKEN_CHARACTERS,
    KeysUnavailable,
    Principal,
    TokenVerifier,
    bearer,
    fetch_json,
)
from tokenstream.errors import Internal, Unauthorized

KEY = SigningKey.generate("current")
OTHER_KEY = SigningKey.generate("current")
JWKS_URL = "https://keys.example/jwks.json"


class Issuer:
    """The issuer's keys behind their URL, and a clock that a test moves."""

    def __init__(self, *keys: SigningKey) -> None:
        self.document: Any = {"keys": [key.jwk for key in keys]}
        self.fetches: list[str] = []
        self.now = 1000.0
        self.fault: Exception | None = None

    def fetch(self, url: str) -> Mapping[str, Any]:
        self.fetches.append(url)
        if self.fault is not None:
            raise self.fault
        document: Mapping[str, Any] = self.document
        return document

    def verifier(self) -> TokenVerifier:
        return TokenVerifier(
            issuer=ISSUER, client_id=CLIENT_ID, jwks_url=JWKS_URL, clock=lambda: self.now, fetch=self.fetch
        )


def verify(text: str) -> Principal:
    return Issuer(KEY).verifier().verify(text)


def part(value: object) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_an_id_token_of_the_pool_speaks_for_its_user() -> None:
    expires_at = int(time()) + 60
    assert verify(KEY.sign(claims(exp=expires_at))) == Principal(SUB, expires_at)


def test_a_token_made_for_several_audiences_is_good_for_ours() -> None:
    # RFC 7519, 4.1.3; Cognito itself names one.
    assert verify(KEY.sign(claims(aud=["another", CLIENT_ID]))).sub == SUB


def swapped(text: str, index: int, value: str) -> str:
    parts = text.split(".")
    parts[index] = value
    return ".".join(parts)


GOOD = KEY.sign(claims())
FORGED: dict[str, Callable[[], str]] = {
    "alg none": lambda: token({"alg": "none", "kid": KEY.kid}, claims(), lambda _: b""),
    "alg None in capitals": lambda: token({"alg": "NONE", "kid": KEY.kid}, claims(), lambda _: b""),
    "alg missing": lambda: KEY.sign(claims(), alg=None),
    "alg of an odd type": lambda: KEY.sign(claims(), alg=["RS256"]),
    "alg is an object": lambda: KEY.sign(claims(), alg={"RS256": 1}),
    "signature left out": lambda: swapped(GOOD, 2, ""),
    "HS256 with the public key as secret": lambda: token(
        {"alg": "HS256", "kid": KEY.kid}, claims(), hs256(KEY.public_pem)
    ),
    "HS256 with the modulus as secret": lambda: token(
        {"alg": "HS256", "kid": KEY.kid}, claims(), hs256(KEY.jwk["n"].encode())
    ),
    "RS512 by name": lambda: KEY.sign(claims(), alg="RS512"),
    "another key under the same kid": lambda: OTHER_KEY.sign(claims()),
    "unknown kid": lambda: KEY.sign(claims(), kid="unknown"),
    "empty kid": lambda: KEY.sign(claims(), kid=""),
    "no kid": lambda: KEY.sign(claims(), kid=None),
    "kid a number": lambda: KEY.sign(claims(), kid=1),
    "kid a list": lambda: KEY.sign(claims(), kid=["current"]),
    "kid an object": lambda: KEY.sign(claims(), kid={"current": 1}),
    "kid true": lambda: KEY.sign(claims(), kid=True),
    "kid a path": lambda: token({"alg": "HS256", "kid": "../../dev/null"}, claims(), hs256(b"")),
    "own key in the header": lambda: OTHER_KEY.sign(claims(), jwk=OTHER_KEY.jwk),
    "own key in the header, no kid": lambda: OTHER_KEY.sign(claims(), jwk=OTHER_KEY.jwk, kid=None),
    "own key's URL in the header": lambda: OTHER_KEY.sign(claims(), jku="https://forger.example/jwks.json"),
    "own certificate in the header": lambda: OTHER_KEY.sign(claims(), x5c=["AAAA"], x5u="https://forger.example/"),
    "a critical extension that nobody knows": lambda: KEY.sign(claims(), crit=["paid"], paid=True),
    "payload left out of the signature": lambda: KEY.sign(claims(), b64=False, crit=["b64"]),
    "payload changed": lambda: swapped(GOOD, 1, part(claims(sub="victim"))),
    "header changed": lambda: swapped(GOOD, 0, part({"alg": "RS256", "kid": KEY.kid, "typ": "at+jwt"})),
    "signature of another token": lambda: swapped(GOOD, 2, KEY.sign(claims(sub="another")).rpartition(".")[2]),
    "expired": lambda: KEY.sign(claims(exp=int(time()) - 1)),
    "expires now": lambda: KEY.sign(claims(exp=int(time()))),
    "expired for ever": lambda: KEY.sign(claims(exp=0)),
    "expiry negative": lambda: KEY.sign(claims(exp=-1)),
    "expiry no number": lambda: KEY.sign(claims(exp="tomorrow")),
    "expiry a list": lambda: KEY.sign(claims(exp=[9999999999])),
    "not valid yet": lambda: KEY.sign(claims(nbf=int(time()) + 600)),
    "issuer: another pool": lambda: KEY.sign(claims(iss=ISSUER + "2")),
    "issuer: another region": lambda: KEY.sign(claims(iss=ISSUER.replace("eu-west-1.", "us-east-1."))),
    "issuer: a list": lambda: KEY.sign(claims(iss=[ISSUER])),
    "issuer: upper case": lambda: KEY.sign(claims(iss=ISSUER.upper())),
    "audience: another client": lambda: KEY.sign(claims(aud="another")),
    "audience: a part of the client's id": lambda: KEY.sign(claims(aud=CLIENT_ID[:-1])),
    "audience: a list of others": lambda: KEY.sign(claims(aud=["another", "third"])),
    "audience: an empty list": lambda: KEY.sign(claims(aud=[])),
    "audience: a number": lambda: KEY.sign(claims(aud=5)),
    "audience: an object": lambda: KEY.sign(claims(aud={CLIENT_ID: 1})),
    "client_id instead of an audience": lambda: KEY.sign(claims(aud=None, client_id=CLIENT_ID)),
    "an access token": lambda: KEY.sign(claims(token_use="access")),
    "an access token with an audience": lambda: KEY.sign(claims(token_use="access", client_id=CLIENT_ID)),
    "token_use a list": lambda: KEY.sign(claims(token_use=["id"])),
    "token_use in capitals": lambda: KEY.sign(claims(token_use="ID")),
    "sub empty": lambda: KEY.sign(claims(sub="")),
    "sub a number": lambda: KEY.sign(claims(sub=5)),
    **{
        f"without {name}": lambda name=name: KEY.sign(claims(**{name: None}))  # type: ignore[misc] # bound early
        for name in ("sub", "aud", "iss", "exp", "iat", "token_use")
    },
    "claims are a list": lambda: KEY.sign([claims()]),  # type: ignore[arg-type] # that is the point
    "claims are null": lambda: KEY.sign(None),  # type: ignore[arg-type] # that is the point
    "no token": lambda: "",
    "garbage": lambda: "garbage",
    "dots": lambda: "..",
    "four parts": lambda: GOOD + ".AAAA",
    "two parts": lambda: GOOD.rpartition(".")[0],
    "a space at the end": lambda: GOOD + " ",
    "letters beyond ASCII": lambda: "é" + GOOD,
    "a lone surrogate": lambda: GOOD + "\ud800",
    "NUL": lambda: GOOD + "\0",
    "header no JSON": lambda: swapped(GOOD, 0, "AAAA"),
    "header a list": lambda: swapped(GOOD, 0, part([])),
    "header deeply nested": lambda: swapped(GOOD, 0, urlsafe_b64encode(b"[" * 4500).decode()),
    "header a very long number": lambda: swapped(GOOD, 0, urlsafe_b64encode(b"1" * 4500).decode()),
    "encrypted (five parts)": lambda: ".".join([part({"alg": "RSA-OAEP", "enc": "A256GCM"}), "AA", "AA", "AA", "AA"]),
    "too long": lambda: KEY.sign(claims(padding="x" * MAX_TOKEN_CHARACTERS)),
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED.keys())
def test_a_forged_token_is_refused(forge: Callable[[], str]) -> None:
    with pytest.raises(Unauthorized):
        verify(forge())


def test_the_refusal_of_an_expired_token_says_so_a_client_can_get_another() -> None:
    with pytest.raises(Unauthorized, match="expired"):
        verify(FORGED["expired"]())


@pytest.mark.parametrize("name", ["garbage", "payload changed", "audience: another client", "unknown kid"])
def test_a_refusal_tells_a_forger_nothing(name: str) -> None:
    with pytest.raises(Unauthorized) as raised:
        verify(FORGED[name]())
    assert str(raised.value) == "The token is not valid."


def test_the_longest_token_is_still_read() -> None:
    short = len(KEY.sign(claims(padding="")))
    # Three bytes are four characters of base64.
    longest = KEY.sign(claims(padding="x" * ((MAX_TOKEN_CHARACTERS - short) * 3 // 4 - 3)))
    assert MAX_TOKEN_CHARACTERS - 8 < len(longest) <= MAX_TOKEN_CHARACTERS
    assert verify(longest).sub == SUB


def test_a_key_of_another_kind_in_the_set_is_no_way_in() -> None:
    issuer = Issuer(KEY)
    issuer.document["keys"].append({"kty": "oct", "kid": "shared", "k": "c2VjcmV0", "alg": "HS256"})
    with pytest.raises(Unauthorized):
        issuer.verifier().verify(token({"alg": "HS256", "kid": "shared"}, claims(), hs256(b"secret")))


def test_a_key_that_we_cannot_use_does_not_hide_the_others() -> None:
    issuer = Issuer(KEY)
    issuer.document["keys"].insert(0, {"kty": "new", "kid": "future"})
    assert issuer.verifier().verify(KEY.sign(claims())).sub == SUB


def test_keys_are_fetched_once_for_many_tokens() -> None:
    issuer = Issuer(KEY)
    verifier = issuer.verifier()
    for _ in range(3):
        verifier.verify(KEY.sign(claims()))
        issuer.now += 10 * JWKS_REFRESH_SECONDS
    assert issuer.fetches == [JWKS_URL]


def test_made_up_key_ids_do_not_hammer_the_issuer() -> None:
    issuer = Issuer(KEY)
    verifier = issuer.verifier()
    for kid in range(50):
        with pytest.raises(Unauthorized):
            verifier.verify(OTHER_KEY.sign(claims(), kid=f"made-up-{kid}"))
        issuer.now += 1
    assert len(issuer.fetches) == 1
    issuer.now += JWKS_REFRESH_SECONDS
    with pytest.raises(Unauthorized):
        verifier.verify(OTHER_KEY.sign(claims(), kid="made-up"))
    assert len(issuer.fetches) == 2


def test_made_up_key_ids_do_not_lock_the_users_out() -> None:
    issuer = Issuer(KEY)
    verifier = issuer.verifier()
    with pytest.raises(Unauthorized):
        verifier.verify(OTHER_KEY.sign(claims(), kid="made-up"))
    assert verifier.verify(KEY.sign(claims())).sub == SUB


def test_a_new_key_of_the_issuers_is_picked_up_and_the_old_one_dropped() -> None:
    issuer = Issuer(KEY)
    verifier = issuer.verifier()
    verifier.verify(KEY.sign(claims()))
    rotated = SigningKey("next", OTHER_KEY.private)
    issuer.document = {"keys": [rotated.jwk]}
    issuer.now += JWKS_REFRESH_SECONDS
    assert verifier.verify(rotated.sign(claims())).sub == SUB
    with pytest.raises(Unauthorized):
        verifier.verify(KEY.sign(claims()))


def test_without_the_issuers_keys_it_is_our_fault_not_the_users() -> None:
    issuer = Issuer(KEY)
    issuer.fault = KeysUnavailable()
    verifier = issuer.verifier()
    with pytest.raises(Internal) as raised:
        verifier.verify(KEY.sign(claims()))
    assert raised.value.retryable
    issuer.fault = None
    assert verifier.verify(KEY.sign(claims())).sub == SUB


def test_users_with_a_known_key_get_in_while_the_issuer_is_down() -> None:
    issuer = Issuer(KEY)
    verifier = issuer.verifier()
    verifier.verify(KEY.sign(claims()))
    issuer.fault = KeysUnavailable()
    issuer.now += 10 * JWKS_REFRESH_SECONDS
    assert verifier.verify(KEY.sign(claims())).sub == SUB


@pytest.mark.parametrize("document", [{}, {"keys": []}, {"keys": None}, {"keys": [{"kty": "RSA", "kid": "current"}]}])
def test_a_key_set_without_a_key_is_our_fault(document: Any) -> None:
    issuer = Issuer()
    issuer.document = document
    with pytest.raises(KeysUnavailable):
        issuer.verifier().verify(KEY.sign(claims()))


class Keys:
    """An HTTP server on a free port with one answer, given in raw bytes; none at all: it hangs up."""

    def __init__(self, answer: bytes) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.wfile.write(answer)
                self.close_connection = True

            def log_message(self, *args: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self.url = f"http://127.0.0.1:{self._server.server_port}/jwks.json"

    def __enter__(self) -> "Keys":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def test_keys_are_read_over_http() -> None:
    with Keys(b'HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{"keys": []}') as keys:
        assert fetch_json(keys.url) == {"keys": []}


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\xff\xfe",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
    ],
    ids=repr,
)
def test_anything_but_a_key_set_counts_as_no_keys(answer: bytes) -> None:
    with Keys(answer) as keys, pytest.raises(KeysUnavailable):
        fetch_json(keys.url)


def test_an_issuer_that_cannot_be_reached_counts_as_no_keys() -> None:
    with Keys(b"") as keys:
        pass
    with pytest.raises(KeysUnavailable):
        fetch_json(keys.url)


def test_claims_that_api_gateway_has_verified_are_taken() -> None:
    # As its authorizer gives them: all texts, `exp` a Java date.
    verified = {key: str(value) for key, value in claims().items()} | {"exp": "Fri Nov 20 20:00:00 UTC 2026"}
    assert Issuer().verifier().accept(verified) == Principal(SUB, None)


@pytest.mark.parametrize(
    "change",
    [
        {"aud": "another"},
        {"aud": None},
        {"aud": ""},
        {"token_use": "access"},
        {"token_use": None},
        {"sub": ""},
        {"sub": None},
    ],
    ids=repr,
)
def test_claims_of_another_client_or_kind_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(Unauthorized):
        Issuer().verifier().accept(claims(**change))


@pytest.mark.parametrize("header", ["Bearer abc", "bearer abc", "BEARER  abc ", " Bearer abc"])
def test_the_token_is_taken_out_of_the_header(header: str) -> None:
    assert bearer(header) == "abc"


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "abc", "Basic abc", "AWS4-HMAC-SHA256 Credential=x"])
def test_a_header_without_a_bearer_token_is_refused(header: str) -> None:
    with pytest.raises(Unauthorized):
        bearer(header)
