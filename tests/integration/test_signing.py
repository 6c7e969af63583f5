import contextlib
import datetime
import ssl
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials, ReadOnlyCredentials
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.integration.scripted_endpoint import (
    PATIENCE_SECONDS,
    Endpoint,
    Exchange,
    Received,
    Watched,
    scripted_endpoint,
    status_line,
    streamed,
)
from tokenstream import signing
from tokenstream.signing import Aborted, ConnectionFailed, ReadTimedOut, SignedConnection

CREDENTIALS = Credentials("AKIDEXAMPLE", "secret", "session-token")
JSON = {"Content-Type": "application/json"}
ANSWER = streamed([b"one", b"two"])


@contextlib.contextmanager
def connected(
    endpoint: Endpoint, *, read_timeout: float = PATIENCE_SECONDS, credentials: Credentials = CREDENTIALS
) -> Iterator[SignedConnection]:
    connection = SignedConnection(endpoint.url, "bedrock", "eu-west-1", credentials, read_timeout=read_timeout)
    try:
        yield connection
    finally:
        connection.close()


def post(connection: SignedConnection, body: bytes = b"{}", path: str = "/model/a%3Ab/x") -> bytes:
    response = connection.request("POST", path, body, JSON)
    assert response.status == 200
    return rest(connection)


def rest(connection: SignedConnection) -> bytes:
    data = b""
    while piece := connection.read():
        data += piece
    return data


def true_signature(received: Received, credentials: Credentials | ReadOnlyCredentials) -> str:
    """Sign what has arrived as the service does when it verifies."""
    authorization = received.headers["authorization"]
    [signed] = [part.partition("=")[2] for part in authorization.split(", ") if part.startswith("SignedHeaders")]
    headers = {name: received.headers[name] for name in signed.split(";")}
    url = f"http://{received.headers['host']}{received.target}"
    request = AWSRequest(received.method, url, headers=headers, data=received.body)
    request.context["timestamp"] = received.headers["x-amz-date"]
    auth: Any = SigV4Auth(credentials, "bedrock", "eu-west-1")
    return str(auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request))


@pytest.mark.parametrize("token", ["session-token", None])
@pytest.mark.parametrize("path", ["/", "/model/a", "/model/arn%3Aaws%3Abedrock%2Fus.claude-x%20y~z/converse-stream"])
def test_the_signature_is_the_one_that_the_service_computes(path: str, token: str | None) -> None:
    credentials = Credentials("AKIDEXAMPLE", "secret", token)
    with scripted_endpoint(ANSWER) as endpoint, connected(endpoint, credentials=credentials) as connection:
        assert post(connection, "é".encode(), path) == b"onetwo"
    [received] = endpoint.requests
    assert received.target == path
    assert received.headers["authorization"].endswith(f"Signature={true_signature(received, credentials)}")
    assert received.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
    assert "/eu-west-1/bedrock/aws4_request" in received.headers["authorization"]
    assert received.headers.get("x-amz-security-token") == token


def test_every_request_is_signed_anew_with_the_credentials_of_the_moment() -> None:
    class Rotating(Credentials):
        """New ones at every look, as credentials that are refreshed in between."""

        looks = 0

        def get_frozen_credentials(self) -> ReadOnlyCredentials:
            self.looks += 1
            return ReadOnlyCredentials(f"AKID{self.looks}", f"secret{self.looks}", f"token{self.looks}")

    credentials = Rotating("-", "-", "-")
    with scripted_endpoint(ANSWER, ANSWER) as endpoint, connected(endpoint, credentials=credentials) as connection:
        post(connection)
        post(connection)
    for number, received in enumerate(endpoint.requests, 1):
        pair = ReadOnlyCredentials(f"AKID{number}", f"secret{number}", f"token{number}")
        assert f"Credential=AKID{number}/" in received.headers["authorization"]
        assert received.headers["x-amz-security-token"] == f"token{number}"
        assert received.headers["authorization"].endswith(f"Signature={true_signature(received, pair)}")


def test_a_connection_serves_one_exchange_after_the_other() -> None:
    with scripted_endpoint(ANSWER, ANSWER, ANSWER) as endpoint, connected(endpoint) as connection:
        assert [post(connection) for _ in range(3)] == [b"onetwo"] * 3
    assert endpoint.connections == 1


@pytest.mark.parametrize("body", [b"", b"one", b"x" * 200_000], ids=["empty", "short", "long"])
def test_a_response_of_known_length_leaves_its_connection_to_the_next_exchange(body: bytes) -> None:
    answer = head_of(b"Content-Length: %d" % len(body))

    def script(exchange: Exchange) -> None:
        answer(exchange)
        exchange.raw(body)

    with scripted_endpoint(script, script, script) as endpoint, connected(endpoint) as connection:
        assert [post(connection) for _ in range(3)] == [body] * 3
    assert endpoint.connections == 1


def test_pieces_are_given_as_they_come() -> None:
    asked = Event()

    def one_then_two(exchange: Exchange) -> None:
        exchange.head()
        exchange.chunk(b"one")
        assert asked.wait(PATIENCE_SECONDS)
        exchange.chunk(b"two")
        exchange.end()

    with scripted_endpoint(one_then_two) as endpoint, connected(endpoint) as connection:
        connection.request("POST", "/", b"", JSON)
        assert connection.read() == b"one"
        asked.set()
        assert rest(connection) == b"two"
        assert connection.read() == b""


def test_a_response_that_was_not_read_to_its_end_costs_its_connection_only() -> None:
    with scripted_endpoint(ANSWER, ANSWER) as endpoint, connected(endpoint) as connection:
        connection.request("POST", "/", b"", JSON)
        assert post(connection) == b"onetwo"
    assert endpoint.connections == 2


@pytest.mark.parametrize("size", [2, 100_000, 5_000_000])
def test_a_kept_connection_that_the_other_side_has_closed_is_opened_anew(size: int) -> None:
    closed = Event()

    def answer_and_close(exchange: Exchange) -> None:
        ANSWER(exchange)
        exchange.hang_up()
        closed.set()

    with scripted_endpoint(answer_and_close, ANSWER) as endpoint, connected(endpoint) as connection:
        assert post(connection) == b"onetwo"
        assert closed.wait(PATIENCE_SECONDS)
        assert post(connection, b"x" * size) == b"onetwo"
    assert [(r.connection, len(r.body)) for r in endpoint.requests] == [(1, 2), (2, size)]


def test_what_comes_unasked_on_a_kept_connection_is_nobodys_answer() -> None:
    read, said = Event(), Event()

    def answer_twice(exchange: Exchange) -> None:
        ANSWER(exchange)
        assert read.wait(PATIENCE_SECONDS)
        head_of(b"Content-Length: 5")(exchange)
        exchange.raw(b"wrong")
        said.set()

    with scripted_endpoint(answer_twice, ANSWER) as endpoint, connected(endpoint) as connection:
        assert post(connection) == b"onetwo"
        read.set()
        assert said.wait(PATIENCE_SECONDS)
        assert post(connection) == b"onetwo"
    assert [received.connection for received in endpoint.requests] == [1, 2]


def test_a_kept_connection_is_opened_anew_once_and_no_more() -> None:
    def hang_up(exchange: Exchange) -> None:
        exchange.hang_up()

    with scripted_endpoint(ANSWER, hang_up, hang_up, ANSWER) as endpoint, connected(endpoint) as connection:
        post(connection)
        with pytest.raises(ConnectionFailed):
            post(connection)
        assert len(endpoint.requests) == 3
        assert post(connection) == b"onetwo"


def test_a_new_connection_that_breaks_is_not_tried_again() -> None:
    with scripted_endpoint(lambda exchange: exchange.hang_up()) as endpoint, connected(endpoint) as connection:
        with pytest.raises(ConnectionFailed):
            post(connection)
        assert len(endpoint.requests) == 1


def breaking(*data: bytes) -> Callable[[Exchange], None]:
    def script(exchange: Exchange) -> None:
        for each in data:
            exchange.raw(each)
        exchange.hang_up()

    return script


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 2",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\none",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\none\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * 70_000,
    ],
    ids=lambda data: repr(data[-30:]),
)
def test_an_answer_that_breaks_off_is_no_answer(data: bytes) -> None:
    with (
        scripted_endpoint(breaking(data)) as endpoint,
        connected(endpoint) as connection,
        pytest.raises(ConnectionFailed),
    ):
        post(connection)


def test_nobody_listening_is_a_failed_connection() -> None:
    with scripted_endpoint() as endpoint:
        pass
    with connected(endpoint) as connection, pytest.raises(ConnectionFailed):
        post(connection)


def test_a_name_that_does_not_resolve_is_a_failed_connection() -> None:
    connection = SignedConnection("http://nowhere.invalid", "bedrock", "eu-west-1", CREDENTIALS, read_timeout=1)
    with pytest.raises(ConnectionFailed):
        post(connection)


@pytest.mark.parametrize("prepare", [lambda exchange: None, lambda exchange: exchange.head()], ids=["head", "body"])
def test_silence_before_the_head_and_behind_it_times_out(prepare: Callable[[Exchange], None]) -> None:
    silent = Watched(prepare)
    with scripted_endpoint(silent) as endpoint, connected(endpoint, read_timeout=0.1) as connection:
        with pytest.raises(ReadTimedOut):
            post(connection)
        assert silent.left.wait(PATIENCE_SECONDS)


def head_and(data: bytes) -> Callable[[Exchange], None]:
    def script(exchange: Exchange) -> None:
        exchange.head()
        exchange.raw(data)

    return script


def head_of(*lines: bytes) -> Callable[[Exchange], None]:
    return lambda exchange: exchange.raw(status_line(200) + b"".join(line + b"\r\n" for line in lines) + b"\r\n")


PLACES: dict[str, Callable[[Exchange], None]] = {
    "waiting for the head": lambda exchange: None,
    "within the head": lambda exchange: exchange.raw(b"HTTP/1.1 200 OK\r\nTransfer"),
    "behind the head": lambda exchange: exchange.head(),
    "between chunks": head_and(b"3\r\none\r\n"),
    "within a chunk": head_and(b"5\r\none"),
    "within a body of known length": head_of(b"Content-Length: 10"),
    "on a connection that ends with its response": head_of(b"Connection: close", b"Transfer-Encoding: chunked"),
    "within a body that ends with its connection": head_of(b"Connection: close"),
}


HEADLESS = {"waiting for the head", "within the head"}


def abort_at(name: str, watched: Watched, connection: SignedConnection) -> None:
    """Abort an exchange that has come to a place, and see it end for the client and for the server."""
    head_read = Event()
    aborted = Event()

    def wait() -> None:
        with pytest.raises(Aborted):  # noqa: PT012 - which of the two calls waits is the case's
            connection.request("POST", "/", b"{}", JSON)
            head_read.set()
            rest(connection)
        aborted.set()

    reader = Thread(target=wait)
    reader.start()
    assert watched.reached.wait(PATIENCE_SECONDS)
    assert name in HEADLESS or head_read.wait(PATIENCE_SECONDS)
    connection.abort()
    reader.join(PATIENCE_SECONDS)
    assert aborted.is_set()
    assert watched.left.wait(PATIENCE_SECONDS)


@pytest.mark.parametrize("name", PLACES)
def test_an_abort_ends_the_wait_at_once_wherever_it_is(name: str) -> None:
    watched = Watched(PLACES[name])
    with scripted_endpoint(watched) as endpoint, connected(endpoint, read_timeout=4 * PATIENCE_SECONDS) as connection:
        abort_at(name, watched, connection)
        connection.abort()
        with pytest.raises(Aborted):
            post(connection)


def test_an_abort_before_the_request_sends_nothing() -> None:
    with scripted_endpoint() as endpoint, connected(endpoint) as connection:
        connection.abort()
        with pytest.raises(Aborted):
            post(connection)
        assert endpoint.requests == []


def test_an_abort_at_any_moment_ends_the_exchange_and_nothing_hangs() -> None:
    def endless(exchange: Exchange) -> None:
        exchange.hung_up = True
        exchange.head()
        while True:
            exchange.chunk(b"x")

    with scripted_endpoint(*[endless] * 100) as endpoint:
        for _ in range(100):
            with connected(endpoint) as connection:
                ended = Event()

                def read(connection: SignedConnection = connection, ended: Event = ended) -> None:
                    with pytest.raises(Aborted):
                        post(connection)
                    ended.set()

                reader = Thread(target=read)
                reader.start()
                connection.abort()
                reader.join(PATIENCE_SECONDS)
                assert ended.is_set()


@pytest.mark.parametrize("endpoint", ["", "bedrock", "ftp://host", "file:///etc/passwd", "http://", "//host"])
def test_an_endpoint_that_is_none_is_refused(endpoint: str) -> None:
    with pytest.raises(ValueError, match="not an HTTP endpoint"):
        SignedConnection(endpoint, "bedrock", "eu-west-1", CREDENTIALS, read_timeout=1)


def test_there_is_nothing_to_read_before_a_request() -> None:
    connection = SignedConnection("http://127.0.0.1:1", "bedrock", "eu-west-1", CREDENTIALS, read_timeout=1)
    with pytest.raises(ValueError, match="no response"):
        connection.read()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of its own making for 127.0.0.1, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tests")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(made.public_bytes(Encoding.PEM) + private)
    return path


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    signing._tls.cache_clear()
    yield
    signing._tls.cache_clear()


def say_goodbye(connection: ssl.SSLSocket) -> None:
    connection.settimeout(0)
    with contextlib.suppress(ssl.SSLWantReadError):  # the client's own goodbye is not waited for
        connection.unwrap()


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("goodbye", [say_goodbye, lambda connection: None], ids=["close_notify", "none"])
@pytest.mark.parametrize("size", [2, 100_000, 5_000_000])
def test_over_tls_a_connection_is_kept_and_opened_anew_like_any(
    tls: ssl.SSLContext, goodbye: Callable[[ssl.SSLSocket], None], size: int
) -> None:
    closed = Event()

    def answer_and_close(exchange: Exchange) -> None:
        ANSWER(exchange)
        assert isinstance(exchange.connection, ssl.SSLSocket)
        goodbye(exchange.connection)
        exchange.hang_up()
        closed.set()

    with (
        scripted_endpoint(ANSWER, answer_and_close, ANSWER, tls=tls) as endpoint,
        connected(endpoint) as connection,
    ):
        assert post(connection) == b"onetwo"
        assert post(connection) == b"onetwo"
        assert closed.wait(PATIENCE_SECONDS)
        assert post(connection, b"x" * size) == b"onetwo"
    assert [received.connection for received in endpoint.requests] == [1, 1, 2]


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("name", PLACES)
def test_over_tls_an_abort_ends_the_wait_at_once(name: str, tls: ssl.SSLContext) -> None:
    watched = Watched(PLACES[name])
    with (
        scripted_endpoint(watched, tls=tls) as endpoint,
        connected(endpoint, read_timeout=4 * PATIENCE_SECONDS) as connection,
    ):
        abort_at(name, watched, connection)


def test_an_endpoint_whose_certificate_nobody_signed_is_not_talked_to(tls: ssl.SSLContext) -> None:
    with scripted_endpoint(tls=tls) as endpoint, connected(endpoint) as connection:
        with pytest.raises(ConnectionFailed):
            post(connection)
        assert endpoint.requests == []
