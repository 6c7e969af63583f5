from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.client.srp_server import SrpServer
from tokenstream_client.srp import PRIME, PasswordProof, cognito_time

POOL = "eu-west-1_AbCdEfGhI"
NOW = datetime(2026, 11, 4, 9, 5, 7, tzinfo=UTC)


@settings(max_examples=40, deadline=None)
@given(
    password=st.text(min_size=1, max_size=20),
    secret=st.integers(1, 2**256),
    salt=st.integers(1, 2**128),
    server_secret=st.integers(1, 2**256),
)
def test_the_right_password_is_proved_whatever_the_numbers(
    password: str, secret: int, salt: int, server_secret: int
) -> None:
    server = SrpServer(POOL, "user-1", password, salt=salt, secret=server_secret)
    proof = PasswordProof(POOL, password, secret=secret)
    assert server.accepts(proof.public_value, proof.answer(server.challenge(), NOW))


def test_a_wrong_password_is_not_proved() -> None:
    server = SrpServer(POOL, "user-1", "right")
    proof = PasswordProof(POOL, "wrong")
    assert not server.accepts(proof.public_value, proof.answer(server.challenge(), NOW))


@pytest.mark.parametrize("server_value", [0, PRIME, 2 * PRIME])
def test_a_server_that_sends_zero_learns_nothing(server_value: int) -> None:
    challenge = {**SrpServer(POOL, "user-1", "right").challenge(), "SRP_B": f"{server_value:x}"}
    with pytest.raises(ValueError, match="zero"):
        PasswordProof(POOL, "right").answer(challenge, NOW)


def test_two_sign_ins_share_no_secret() -> None:
    assert PasswordProof(POOL, "p").public_value != PasswordProof(POOL, "p").public_value


@pytest.mark.parametrize(
    ("moment", "written"),
    [
        (NOW, "Wed Nov 4 09:05:07 UTC 2026"),
        (datetime(2026, 3, 1, 0, 30, tzinfo=timezone(timedelta(hours=1))), "Sat Feb 28 23:30:00 UTC 2026"),
    ],
)
def test_the_time_is_written_as_cognito_signs_it(moment: datetime, written: str) -> None:
    assert cognito_time(moment) == written
